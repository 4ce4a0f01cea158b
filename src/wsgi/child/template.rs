//! A template: has imported the app and forks workers, which share the memory of what was imported.
//!
//! It has one thread, because only that thread continues in a fork.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::BytesMut;
use pyo3::prelude::*;
use pyo3::types::PyString;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpgrp, getppid, kill_process_group, setpgid, waitpid};
use ziggurat_middleware::Finding;

use super::super::application::Application;
use super::super::callable::Callable;
use super::super::environ::Concurrency;
use super::super::interpreter::finalize_process;
use super::super::sleeper::run_signal_handlers;
use super::warm_up::warm_up;
use super::{PROCESS_MODULE, isolate, read_boot, refuse, signals, tell, tell_ready, watch};
use crate::log::Mark;
use crate::worker::boot::{Boot, Ended};
use crate::worker::link::descriptor;
use crate::worker::link::frame::{Malformed, ToServer, ToWorker};
use crate::worker::link::outbox::Outbox;
use crate::worker::link::worker_end::WorkerEnd;
use crate::worker::title::{self, Title};

/// How a template ends.
pub(super) enum TemplateOutcome {
    /// It was stopped, or (`false`) cannot go on.
    Ended(bool),
    /// This process is a forked worker, with its own link and first frame.
    Forked(WorkerEnd, Box<Boot>),
}

/// How often the template looks for forked processes that have ended.
const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

struct Template {
    outbox: Arc<Outbox>,
    octets: BytesMut,
    /// Received links that have no worker yet.
    links: Vec<OwnedFd>,
    workers: Vec<Pid>,
}

/// Forks workers until the server stops the template.
pub(super) fn run(link: WorkerEnd, mark: &Mark) -> TemplateOutcome {
    let (outbox, octets) = link.into_parts();
    tell_ready(&outbox);
    let mut template = Template { outbox, octets, links: Vec::new(), workers: Vec::new() };
    match template.run() {
        Err(malformed) => {
            tracing::error!("protocol error on the link to the server: {malformed}");
            TemplateOutcome::Ended(false)
        }
        Ok(None) => {
            watch::over(template.outbox.socket(), finalize_process);
            TemplateOutcome::Ended(true)
        }
        Ok(Some(link)) => {
            // Closes the template's own link first.
            drop(template);
            begin(link, mark)
        }
    }
}

/// Requests each path from the app, and then freezes all objects: the garbage collector would otherwise write to the shared memory.
pub(super) fn warm(boot: &Boot, paths: &[String], app: &Callable) -> Result<(), Finding> {
    let concurrency = Concurrency { multithread: boot.threads > 1, multiprocess: boot.is_multiprocess, run_once: false };
    let application = Python::attach(|py| Application::new(py, app, &boot.place, concurrency))?;
    for path in paths {
        warm_up(&application, path);
    }
    Python::attach(|py| {
        drop(application);
        let threads: Vec<String> = py
            .import("threading")?
            .call_method0("enumerate")?
            .try_iter()?
            .skip(1)
            .map(|thread| thread?.getattr("name")?.extract())
            .collect::<PyResult<_>>()?;
        if !threads.is_empty() {
            tracing::warn!(
                app = boot.place,
                "the app started threads during its import; forked workers do not have them: {}",
                threads.join(", ")
            );
        }
        let gc = py.import("gc")?;
        gc.call_method0("collect")?;
        gc.call_method0("freeze")?;
        Ok(())
    })
}

/// The first steps of a forked process.
fn begin(link: OwnedFd, mark: &Mark) -> TemplateOutcome {
    let Ok(mut link) = WorkerEnd::new(UnixStream::from(link)) else { return TemplateOutcome::Ended(false) };
    match read_boot(&mut link) {
        Ok(Some(boot)) => {
            // A group of its own, unless the template shares one with the server for its terminal.
            if getppid() == Some(getpgrp()) {
                // It is no session leader, so this succeeds.
                let _ = setpgid(None, None);
            }
            if let Err(finding) = Python::attach(|py| become_worker(py, link.outbox().socket())) {
                return TemplateOutcome::Ended(refuse(&link.outbox(), finding.into()));
            }
            mark.set(boot.mark());
            title::set_short(&boot.short_title());
            if let Some(title) = Title::open() {
                title.set(&boot.title());
            }
            TemplateOutcome::Forked(link, Box::new(boot))
        }
        Ok(None) => {
            watch::end();
            TemplateOutcome::Ended(true)
        }
        Err(finding) => TemplateOutcome::Ended(refuse(&link.outbox(), finding.into())),
    }
}

/// The fork has restored the dispositions of signals for a process of the app.
fn become_worker(py: Python<'_>, link: &UnixStream) -> Result<(), Finding> {
    let process = PyModule::import(py, PyString::from_bytes(py, PROCESS_MODULE.to_bytes())?)?;
    signals::handle(&process)?;
    isolate(&process, link)?;
    let shared: Vec<String> = process.call_method0("shared_connections")?.extract()?;
    if shared.is_empty() {
        return Ok(());
    }
    let text = format!("all workers would share the connections that the app has open after `preload`: to {}", shared.join(", "));
    let finding = Finding::new(text).at("preload");
    Err(finding
        .hint("close them in `os.register_at_fork(before=...)`, or open them after the fork; do not warm up with a path that opens one"))
}

impl Template {
    /// Handles frames. Returns the link of a worker in the process that was forked for it.
    fn run(&mut self) -> Result<Option<OwnedFd>, Malformed> {
        loop {
            while let Some(order) = ToWorker::take(&mut self.octets)? {
                match order {
                    ToWorker::Fork => {
                        let link = self.links.pop().ok_or(Malformed("a request to fork came without a link"))?;
                        if self.fork() {
                            return Ok(Some(link));
                        }
                    }
                    ToWorker::Stop => return Ok(None),
                    ToWorker::Stacks | ToWorker::Reopen => {}
                    _ => return Err(Malformed("a frame is not for a template")),
                }
            }
            self.reap();
            match poll(&mut [PollFd::new(self.outbox.socket(), PollFlags::IN)], Some(&ROUND)) {
                Ok(0) => {}
                // The server is gone. Exit hooks of the app could take any time, so they do not run.
                Ok(_) if !self.read() => watch::end(),
                Ok(_) => {}
                Err(_) => run_signal_handlers(),
            }
        }
    }

    /// Reads what is there, descriptors included. Returns `false` if the server is gone.
    fn read(&mut self) -> bool {
        let mut octets = [0; 4096];
        let count = match descriptor::receive(self.outbox.socket(), &mut octets, &mut self.links) {
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => return true,
            Err(_) => 0,
        };
        self.octets.extend_from_slice(&octets[..count]);
        count > 0
    }

    /// Forks a process. Returns `true` in the new one.
    fn fork(&mut self) -> bool {
        match Python::attach(|py| py.import("os")?.call_method0("fork")?.extract::<i32>()) {
            Ok(0) => return true,
            Ok(pid) => self.workers.extend(Pid::from_raw(pid)),
            // The server sees it: the worker's link ends.
            Err(error) => tracing::error!("a worker cannot be forked: {error}"),
        }
        false
    }

    /// Reports workers that have ended. (Each is waited for by its id: the app may have child processes of its own.)
    fn reap(&mut self) {
        let outbox = &self.outbox;
        self.workers.retain(|pid| match waitpid(Some(*pid), WaitOptions::NOHANG) {
            Ok(None) | Err(Errno::INTR) => true,
            Ok(Some((_, status))) => {
                // What its app has left behind. (If it shares the server's group, there is none of this id.)
                let _ = kill_process_group(*pid, Signal::KILL);
                let pid = pid.as_raw_nonzero().get().unsigned_abs();
                tell(outbox, &Ended { pid, code: status.exit_status(), signal: status.terminating_signal() }, ToServer::Ended);
                false
            }
            Err(_) => false,
        });
    }
}
