//! `ziggurat cgi`: one request from the environment and standard input, answered on standard output (RFC 3875).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use http::Extensions;
use rustix::stdio::{dup2_stdin, dup2_stdout};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use ziggurat_middleware::Lifecycle;

use super::{end, main_loop};
use crate::gateway::Variables;
use crate::log;
use crate::pipeline::{Pipeline, Report};
use crate::server::{fail_cgi, serve_cgi};
use crate::worker::SingleRequest;

/// The request for which a web server has started this process.
pub(crate) struct CgiRequest {
    variables: Variables,
    input: File,
    output: File,
}

impl CgiRequest {
    /// Takes the request, with standard input and output: what apps print goes to standard error from now on, and they read nothing of the body beside
    /// `wsgi.input`. `None` if no web server has started this process.
    ///
    /// # Errors
    ///
    /// If a standard stream is closed.
    pub(crate) fn take() -> io::Result<Option<Self>> {
        if std::env::var_os("REQUEST_METHOD").is_none() {
            return Ok(None);
        }
        let own = |stream: &dyn AsFd| stream.as_fd().try_clone_to_owned().map(File::from);
        let (input, output) = (own(&io::stdin())?, own(&io::stdout())?);
        dup2_stdin(OwnedFd::from(File::open("/dev/null")?))?;
        dup2_stdout(io::stderr())?;
        let variables = std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec()));
        Ok(Some(Self { variables: variables.collect(), input, output }))
    }

    /// Answers 500.
    pub(crate) fn fail(self) {
        fail_cgi(self.variables, self.input, self.output);
    }

    /// Serves the request with the stack of `pipeline`, in this process. SIGTERM and SIGINT cut it off.
    ///
    /// # Errors
    ///
    /// What cannot be acquired or imported, with its place in the file. The client has a 500 then.
    pub(crate) fn serve(self, pipeline: &Pipeline, host: &Extensions) -> Result<(), Report> {
        log::start();
        let mut host = host.clone();
        host.insert(SingleRequest);
        // The request itself runs on this thread, and an app on one of its own.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().thread_name("ziggurat-io").build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                self.fail();
                return Err(pipeline.report(&format!("cannot start the runtime: {error}")));
            }
        };
        let lifecycle = Lifecycle::hosted(host);
        let entered = runtime.enter();
        let built = pipeline.build(&lifecycle);
        drop(entered);
        let outcome = match built {
            Ok(stack) => {
                let Self { variables, input, output } = self;
                let streams = (tokio::fs::File::from_std(input), tokio::fs::File::from_std(output));
                runtime.block_on(serve_cgi(variables, streams, stack, pipeline.server(), stopped()));
                Ok(())
            }
            Err(report) => {
                self.fail();
                Err(report)
            }
        };
        runtime.block_on(main_loop::end(lifecycle));
        end(runtime);
        outcome
    }
}

/// Ready when the web server, or a user, ends this process. After the import of apps, whose modules may set signal handlers.
async fn stopped() {
    let signals = signal(SignalKind::terminate()).and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    match signals {
        Ok((mut terminate, mut interrupt)) => tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        },
        // The system ends it.
        Err(_) => std::future::pending().await,
    }
}
