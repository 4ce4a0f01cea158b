//! A worker process: it imports the app and serves the calls that come over its link, until the front says otherwise or is gone.
//!
//! Three kinds of threads: the one that reads the link and never needs the interpreter, those that call the app ([`super::thread_pool`]), and the main
//! thread, which is Python's too and waits ([`serve`]). A worker may also be a template of others ([`template`]).

mod serve;
pub(crate) mod settings;
mod signals;
mod template;
mod warm_up;
mod watch;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use pyo3::prelude::*;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::sockopt::socket_type;
use rustix::stdio::{dup2_stdin, stdin};
use serde_json::Value;
use ziggurat_middleware::{Finding, Lifecycle};

use super::callable::Callable;
use super::interpreter::{finalize, initialize};
use super::load::import;
use super::service_as_wsgi::Runtime;
use crate::log::{self, Mark};
use crate::worker::boot::{Boot, Ready, Refusal};
use crate::worker::identity::become_user;
use crate::worker::link::frame::{ToServer, ToWorker, VERSION};
use crate::worker::link::outbox::Outbox;
use crate::worker::link::worker_end::{End, WorkerEnd};
use crate::worker::title::{self, Title};
use template::TemplateOutcome;

/// Builds the stack that [`Boot::stack`] is, in this process; its findings are for who sent it.
pub(crate) type Build<'a> = &'a dyn Fn(Value, &Lifecycle, &Arc<Runtime>) -> Result<Callable, Vec<Value>>;

/// Runs a worker over the link that is its standard input. Says whether it could be what it was to be; the front knows the reason.
///
/// # Errors
///
/// A message for whoever started this otherwise than the server does.
pub(crate) fn run(build: Build<'_>) -> Result<bool, String> {
    let link = take_link()
        .map_err(|error| format!("error: no link to a server as standard input: {error}\nhint: the server starts its workers itself"))?;
    let mut link = WorkerEnd::new(link).map_err(|error| format!("error: no worker can be started: {error}"))?;
    let boot = match read_boot(&mut link) {
        Ok(Some(boot)) => boot,
        Ok(None) => return Ok(true),
        Err(finding) => return Ok(refuse(&link.outbox(), finding.into())),
    };
    let mark = Mark::default();
    mark.set(boot.mark());
    log::start_marked(mark.clone());
    let outbox = link.outbox();
    let made = watch::over(outbox.socket(), || {
        prepare(&boot, outbox.socket())?;
        BuiltApp::new(&boot, build)
    });
    let made = match made {
        Ok(made) => made,
        Err(refusal) => return Ok(refuse(&outbox, refusal)),
    };
    let Some(paths) = &boot.preload else { return Ok(serve_all(link, &boot, &made)) };
    if let Err(finding) = watch::over(outbox.socket(), || template::warm(&boot, paths, &made.callable)) {
        return Ok(refuse(&outbox, finding.into()));
    }
    drop(outbox);
    // Threads are not there any more in a fork: a stack that may have some is made anew in each. What was imported stays.
    let made = made.without_threads();
    match template::run(link, &mark) {
        TemplateOutcome::Ended(well) => {
            finalize();
            Ok(well)
        }
        TemplateOutcome::Forked(link, boot) => match made.map_or_else(|| BuiltApp::new(&boot, build), Ok) {
            Ok(made) => Ok(serve_all(link, &boot, &made)),
            Err(refusal) => Ok(refuse(&link.outbox(), refusal)),
        },
    }
}

/// What the worker's threads call, and what belongs to it.
struct BuiltApp {
    callable: Callable,
    lifecycle: Lifecycle,
    /// Where it is a stack.
    runtime: Option<Arc<Runtime>>,
}

impl BuiltApp {
    fn new(boot: &Boot, build: Build<'_>) -> Result<Self, Refusal> {
        let lifecycle = Lifecycle::default();
        let Some(stack) = &boot.stack else {
            return Ok(Self { callable: Callable::new(import(&boot.app, &boot.path)?), lifecycle, runtime: None });
        };
        let runtime = Runtime::start().map(Arc::new).map_err(Finding::from)?;
        let built = runtime.within(|| build(stack.clone(), &lifecycle, &runtime));
        let callable = built.map_err(|findings| Refusal::inside("the stack cannot be built", findings))?;
        Ok(Self { callable, lifecycle, runtime: Some(runtime) })
    }

    /// Ends its tasks and runs its shutdown hooks.
    fn shut_down(&self) {
        match &self.runtime {
            Some(runtime) => runtime.shut_down(&self.lifecycle),
            None => self.lifecycle.shutdown(),
        }
    }

    /// This, if it has no threads; else it is ended.
    fn without_threads(self) -> Option<Self> {
        let Some(runtime) = &self.runtime else { return Some(self) };
        runtime.shut_down(&self.lifecycle);
        runtime.end();
        None
    }
}

/// The link, with nothing left in its place for the app to read.
fn take_link() -> std::io::Result<UnixStream> {
    socket_type(stdin())?;
    let link = fcntl_dupfd_cloexec(stdin(), 3)?;
    dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(UnixStream::from(link))
}

/// What this worker is to be. Nothing where the front has left.
fn read_boot(link: &mut WorkerEnd) -> Result<Option<Boot>, Finding> {
    match link.next() {
        Ok(ToWorker::Boot(json)) => Boot::read(&json).map(Some),
        Err(End::Gone) => Ok(None),
        Ok(_) => Err(Finding::new("a worker was not told what it is to be")),
        Err(End::Malformed(malformed)) => Err(Finding::new(format!("a worker does not understand the server: {malformed}"))),
    }
}

/// Becomes what the front says, with Python at hand.
fn prepare(boot: &Boot, link: &UnixStream) -> Result<(), Finding> {
    let title = Title::open();
    title::set_short(&boot.short_title());
    become_user(boot.user.as_deref(), boot.group.as_deref())?;
    if let Some(folder) = &boot.chdir {
        std::env::set_current_dir(folder)
            .map_err(|error| Finding::new(format!("cannot work in the folder `{}`: {error}", folder.display())).at("chdir"))?;
    }
    initialize().map_err(|finding| match &boot.user {
        Some(user) => {
            finding.at("user").hint(format!("`{user}` has to be able to read Python's own files and those of the virtual environment"))
        }
        None => finding,
    })?;
    // Not before: Python looks at the name it was called by.
    if let Some(title) = title {
        title.set(&boot.title());
    }
    Python::attach(signals::handle)?;
    if boot.preload.is_none() {
        Python::attach(|py| keep_from_forks(py, link))?;
    }
    Ok(())
}

/// Serves to the end of the worker.
fn serve_all(link: WorkerEnd, boot: &Boot, made: &BuiltApp) -> bool {
    let outbox = link.outbox();
    match serve::Service::start(link, boot, &made.callable, made.lifecycle.clone()) {
        Ok(service) => {
            tell_ready(&outbox);
            service.wait();
            outbox.flush_all();
            made.shut_down();
            finalize();
            true
        }
        Err(finding) => refuse(&outbox, finding.into()),
    }
}

fn tell_ready(outbox: &Outbox) {
    let ready = Ready { version: VERSION, pid: std::process::id() };
    tell(outbox, &ready, ToServer::Ready);
}

/// Tells the front that there will be no worker.
fn refuse(outbox: &Outbox, refusal: Refusal) -> bool {
    tell(outbox, &refusal, ToServer::Refused);
    finalize();
    false
}

fn tell(outbox: &Outbox, what: &impl serde::Serialize, report: impl FnOnce(bytes::Bytes) -> ToServer) {
    // Structs of numbers and text are always JSON.
    let json = serde_json::to_vec(what).unwrap_or_default();
    outbox.send(|out| report(json.into()).put(out));
    outbox.flush_all();
}

/// Keeps processes that the app forks from this one away from the link: they would speak in this one's name, or hold it open when this one is
/// gone. (Those it executes do not have it.)
fn keep_from_forks(py: Python<'_>, link: impl AsFd) -> PyResult<()> {
    use std::os::fd::AsRawFd;

    let names = [("number", link.as_fd().as_raw_fd())];
    let locals = pyo3::types::IntoPyDict::into_py_dict(names, py)?;
    py.run(
        c"import os
def cut(number=number, os=os):
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, number, False)
    os.close(null)
os.register_at_fork(after_in_child=cut)",
        Some(&locals),
        None,
    )
}
