//! Runs a pipeline: builds it, listens, serves until a signal, drains, ends.

use std::future::Future;
use std::io::Write;
use std::time::Instant;

use http::Extensions;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use ziggurat_middleware::Lifecycle;

use crate::log;
use crate::pipeline::{Pipeline, Report};
use crate::server::{Listener, Server};
use crate::wsgi;

/// Serves until SIGTERM or SIGINT, then drains. Layers and apps find what `host` holds in their context.
///
/// # Errors
///
/// What could not be bound, acquired or imported, at its place in the file.
pub(crate) fn run(pipeline: &Pipeline, host: &Extensions) -> Result<(), Report> {
    log::start();
    allow_descriptors();
    let runtime = runtime(pipeline)?;
    let lifecycle = Lifecycle::hosted(host.clone());
    let outcome = serve(pipeline, &runtime, &lifecycle);
    end(&lifecycle, runtime);
    outcome
}

fn serve(pipeline: &Pipeline, runtime: &Runtime, lifecycle: &Lifecycle) -> Result<(), Report> {
    let begin = Instant::now();
    let _entered = runtime.enter();
    let next = pipeline.build(lifecycle)?;
    // Bound after the build: a port that answers means a stack that serves.
    let listeners = bind(pipeline)?;
    // Installed after Python apps were imported, whose modules may set handlers of their own.
    let stop = stop(lifecycle.clone()).map_err(|error| pipeline.report(&format!("cannot handle signals: {error}")))?;
    let addresses: Vec<String> = listeners.iter().map(ToString::to_string).collect();
    let server = Server::start(listeners, next, pipeline.server()).map_err(|error| pipeline.report(&format!("cannot serve: {error}")))?;
    for address in addresses {
        say(&format!("listening on {address}"));
    }
    say(&format!("stack: {}", pipeline.summary()));
    say(&format!("ready after {} ms, process {}", begin.elapsed().as_millis(), std::process::id()));

    let drained = runtime.block_on(async {
        stop.await;
        server.drain().await
    });
    if drained.cut > 0 {
        tracing::warn!("{} connections had not finished within `drain` and were cut off", drained.cut);
    }
    Ok(())
}

/// Builds everything as for [`run`] and lets go of it again.
///
/// # Errors
///
/// What could not be acquired or imported, at its place in the file.
pub(crate) fn try_build(pipeline: &Pipeline, host: &Extensions) -> Result<(), Report> {
    let runtime = runtime(pipeline)?;
    let entered = runtime.enter();
    let lifecycle = Lifecycle::hosted(host.clone());
    let built = pipeline.build(&lifecycle).map(drop);
    drop(entered);
    end(&lifecycle, runtime);
    built
}

fn runtime(pipeline: &Pipeline) -> Result<Runtime, Report> {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all().thread_name("ziggurat-io");
    if let Some(threads) = pipeline.server().threads {
        builder.worker_threads(threads.get());
    }
    builder.build().map_err(|error| pipeline.report(&format!("cannot start the runtime: {error}")))
}

fn bind(pipeline: &Pipeline) -> Result<Vec<Listener>, Report> {
    let mut listeners = Vec::new();
    for (index, listen) in pipeline.listen().iter().enumerate() {
        let bound = Listener::bind(listen, pipeline.base()).map_err(|error| pipeline.report_at_listen(index, &error.to_string()))?;
        listeners.extend(bound);
    }
    Ok(listeners)
}

/// Ends what the layers started, then the runtime, then the interpreter.
fn end(lifecycle: &Lifecycle, runtime: Runtime) {
    lifecycle.shutdown();
    // File reads and password checks that nobody waits for any more are not waited for either.
    runtime.shutdown_background();
    wsgi::finalize();
}

/// Resolves at the first SIGTERM or SIGINT; a second one ends the process. SIGUSR1 opens log files again.
fn stop(lifecycle: Lifecycle) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reopen = signal(SignalKind::user_defined1())?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut stop = Some(stop);
        loop {
            let code = tokio::select! {
                _ = terminate.recv() => 128 + 15,
                _ = interrupt.recv() => 128 + 2,
                _ = reopen.recv() => {
                    lifecycle.reopen();
                    continue;
                }
            };
            match stop.take() {
                Some(stop) => {
                    say("stopping: finishing the requests in flight; a second signal ends at once");
                    let _ = stop.send(());
                }
                // Whoever says it twice means now.
                #[allow(clippy::disallowed_methods)]
                None => std::process::exit(code),
            }
        }
    });
    Ok(async move {
        let _ = stopped.await;
    })
}

/// Raises the soft limit on open descriptors to the hard one: a connection is a descriptor, and the soft limit is often 1024 for the sake of
/// programs that use select(2).
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("cannot raise the limit on open descriptors: {error}");
    }
}

fn say(line: &str) {
    // A closed standard error must not end the server.
    let _ = writeln!(std::io::stderr(), "{line}");
}
