//! A worker process: imports the app and runs the calls that come over its link, until the server stops it or is gone.
//!
//! It has three kinds of threads: one reads the link and never needs the interpreter, others call the app ([`super::thread_pool`]), and the main
//! thread, which is also Python's, waits ([`serve`]). With `preload` it is a template, which forks workers ([`template`]).

// The link has a number and no owner yet.
#[allow(unsafe_code)]
mod descriptor;
mod exit_hook;
mod serve;
pub(crate) mod settings;
mod signals;
mod template;
mod warm_up;
mod watch;

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use pyo3::prelude::*;
use serde_json::Value;
use ziggurat_middleware::{Finding, Lifecycle, Place};

use super::arguments::Arguments;
use super::callable::Callable;
use super::interpreter::{finalize_process, initialize};
use super::load::import;
use super::scheduling::run_as_usual;
use super::service_as_wsgi::Runtime;
use crate::log::{self, Mark};
use crate::worker::boot::{Boot, Ready, Refusal};
use crate::worker::descriptors::limit_descriptors;
use crate::worker::identity::become_user;
use crate::worker::link::frame::{ToServer, ToWorker, VERSION};
use crate::worker::link::outbox::Outbox;
use crate::worker::link::worker_end::{End, WorkerEnd};
use crate::worker::title::{self, Title};
use template::TemplateOutcome;

/// Builds the stack in [`Boot::stack`]. The findings go to the server.
pub(crate) type Build<'a> = &'a dyn Fn(Value, &Lifecycle, &Arc<Runtime>) -> Result<Callable, Vec<Value>>;

/// What the processes that the app starts must not inherit.
const PROCESS: &CStr = match CStr::from_bytes_with_nul(concat!(include_str!("process.py"), "\0").as_bytes()) {
    Ok(code) => code,
    Err(_) => panic!("the source holds a NUL"),
};

/// Its name among Python's modules.
const PROCESS_MODULE: &CStr = c"ziggurat_process";

/// Takes the link that the server has left open, for a process of this program that runs no Python.
///
/// # Errors
///
/// If there is none.
pub(crate) fn link() -> std::io::Result<UnixStream> {
    descriptor::take()
}

/// Runs a worker over the link that the server has left open. Returns whether it could serve the app; the server has the reason.
///
/// # Errors
///
/// A message for a user who started this by hand.
pub(crate) fn run(build: Build<'_>) -> Result<bool, String> {
    run_as_usual();
    let link = descriptor::take()
        .map_err(|error| format!("error: there is no link to a server: {error}\nhint: the server starts its workers itself"))?;
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
    // A fork has no threads, so a stack that may have some is built again in each worker. What was imported stays.
    let made = made.without_threads();
    match template::run(link, &mark) {
        TemplateOutcome::Ended(well) => {
            finalize_process();
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
    /// The runtime of a stack.
    runtime: Option<Arc<Runtime>>,
}

impl BuiltApp {
    fn new(boot: &Boot, build: Build<'_>) -> Result<Self, Refusal> {
        let lifecycle = Lifecycle::default();
        let Some(stack) = &boot.stack else {
            let arguments = Arguments { args: &boot.args, kwargs: &boot.kwargs };
            return Ok(Self {
                callable: Callable::new(import(&boot.app, arguments, &boot.path)?).named(&boot.app, &Place::new(boot.place.as_str())),
                lifecycle,
                runtime: None,
            });
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

    /// Keeps what has no threads; shuts down anything else.
    fn without_threads(self) -> Option<Self> {
        let Some(runtime) = &self.runtime else { return Some(self) };
        runtime.shut_down(&self.lifecycle);
        runtime.end();
        None
    }
}

/// Reads the first frame; `None` if the server is gone.
fn read_boot(link: &mut WorkerEnd) -> Result<Option<Boot>, Finding> {
    match link.next() {
        Ok(ToWorker::Boot(json)) => Boot::read(&json).map(Some),
        Err(End::Gone) => Ok(None),
        Ok(_) => Err(Finding::new("the first frame on a worker's link is not `Boot`")),
        Err(End::Malformed(malformed)) => Err(Finding::new(format!("protocol error on a worker's link: {malformed}"))),
    }
}

/// Sets up the process as the server says, and starts Python.
fn prepare(boot: &Boot, link: &UnixStream) -> Result<(), Finding> {
    let title = Title::open();
    title::set_short(&boot.short_title());
    if let Some(limit) = boot.descriptors {
        limit_descriptors(limit);
    }
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
    // After the start: Python looks at the name of its program.
    if let Some(title) = title {
        title.set(&boot.title());
    }
    Python::attach(|py| {
        let process = PyModule::from_code(py, PROCESS, c"<ziggurat>", PROCESS_MODULE)?;
        signals::handle(&process)?;
        if boot.preload.is_none() { isolate(&process, link) } else { Ok(()) }
    })
}

/// Keeps the link from processes that the app forks, and ends those that it leaves behind. (Executed programs do not inherit the link.)
fn isolate(process: &Bound<'_, PyModule>, link: impl AsFd) -> Result<(), Finding> {
    process.call_method1("isolate", (link.as_fd().as_raw_fd(),))?;
    Ok(())
}

/// Runs calls until the worker is stopped.
fn serve_all(link: WorkerEnd, boot: &Boot, made: &BuiltApp) -> bool {
    let outbox = link.outbox();
    match serve::Service::start(link, boot, &made.callable, made.lifecycle.clone()) {
        Ok(service) => {
            tell_ready(&outbox);
            service.run();
            outbox.flush_all();
            made.shut_down();
            finalize_process();
            true
        }
        Err(finding) => refuse(&outbox, finding.into()),
    }
}

fn tell_ready(outbox: &Outbox) {
    let ready = Ready { version: VERSION, pid: std::process::id() };
    tell(outbox, &ready, ToServer::Ready);
}

/// Tells the server that the app cannot be served.
fn refuse(outbox: &Outbox, refusal: Refusal) -> bool {
    tell(outbox, &refusal, ToServer::Refused);
    finalize_process();
    false
}

fn tell(outbox: &Outbox, what: &impl serde::Serialize, report: impl FnOnce(bytes::Bytes) -> ToServer) {
    // Structs of numbers and text always serialize.
    let json = serde_json::to_vec(what).unwrap_or_default();
    outbox.send(|out| report(json.into()).put(out));
    outbox.flush_all();
}
