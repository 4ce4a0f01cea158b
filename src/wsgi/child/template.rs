//! A template: it has imported the app and makes workers by forking, which share with it the memory that the app took up.
//!
//! It has one thread, for only that one would go on in what it forks.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::BytesMut;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, WaitOptions, waitpid};
use ziggurat_middleware::Finding;

use super::super::application::Application;
use super::super::callable::Callable;
use super::super::interpreter::finalize;
use super::warm_up::warm_up;
use super::{keep_from_forks, read_boot, refuse, signals, tell, tell_ready, watch};
use crate::log::Mark;
use crate::worker::boot::{Boot, Ended};
use crate::worker::link::frame::{Malformed, ToServer, ToWorker};
use crate::worker::link::outbox::Outbox;
use crate::worker::link::worker_end::WorkerEnd;
use crate::worker::title::{self, Title};

/// What becomes of a template.
pub(super) enum TemplateOutcome {
    /// It is over: no longer wanted, or (`false`) unable to go on.
    Ended(bool),
    /// This process is a worker that it made, with a link and a first word of its own.
    Forked(WorkerEnd, Box<Boot>),
}

/// How often a template looks for processes of its own that have ended.
const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

struct Template {
    outbox: Arc<Outbox>,
    octets: BytesMut,
    /// Links that came and have no worker yet.
    links: Vec<OwnedFd>,
    workers: Vec<Pid>,
}

/// Makes workers, until the front wants no more.
pub(super) fn run(link: WorkerEnd, mark: &Mark) -> TemplateOutcome {
    let (outbox, octets) = link.into_parts();
    tell_ready(&outbox);
    let mut template = Template { outbox, octets, links: Vec::new(), workers: Vec::new() };
    match template.run() {
        Err(malformed) => {
            tracing::error!("the server is not understood: {malformed}");
            TemplateOutcome::Ended(false)
        }
        Ok(None) => {
            watch::over(template.outbox.socket(), finalize);
            TemplateOutcome::Ended(true)
        }
        Ok(Some(link)) => {
            // The template's own link ends here, before anything else.
            drop(template);
            begin(link, mark)
        }
    }
}

/// Calls the app for each path, and puts what there is then out of the reach of the garbage collector, which would write to all of it.
pub(super) fn warm(boot: &Boot, paths: &[String], app: &Callable) -> Result<(), Finding> {
    let application = Python::attach(|py| Application::new(py, app.object(py), &boot.place, boot.threads > 1, boot.is_multiprocess))?;
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
                "the app started threads while it was imported, which its workers will not have: {}",
                threads.join(", ")
            );
        }
        let gc = py.import("gc")?;
        gc.call_method0("collect")?;
        gc.call_method0("freeze")?;
        Ok(())
    })
}

/// What a forked process does first.
fn begin(link: OwnedFd, mark: &Mark) -> TemplateOutcome {
    let Ok(mut link) = WorkerEnd::new(UnixStream::from(link)) else { return TemplateOutcome::Ended(false) };
    match read_boot(&mut link) {
        Ok(Some(boot)) => {
            if let Err(error) = Python::attach(|py| keep_from_forks(py, link.outbox().socket())) {
                return TemplateOutcome::Ended(refuse(&link.outbox(), Finding::from(error).into()));
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

impl Template {
    /// Hears the front. Gives the link of a worker in the process that is to be it.
    fn run(&mut self) -> Result<Option<OwnedFd>, Malformed> {
        loop {
            while let Some(order) = ToWorker::take(&mut self.octets)? {
                match order {
                    ToWorker::Fork => {
                        let link = self.links.pop().ok_or(Malformed("a worker without a link"))?;
                        if self.fork() {
                            return Ok(Some(link));
                        }
                    }
                    ToWorker::Stop => return Ok(None),
                    ToWorker::Stacks | ToWorker::Reopen => {}
                    _ => return Err(Malformed("a word that is not for a template")),
                }
            }
            self.reap();
            match poll(&mut [PollFd::new(self.outbox.socket(), PollFlags::IN)], Some(&ROUND)) {
                Ok(0) => {}
                // Exit hooks of the app could take any time, and nobody would end them.
                Ok(_) if !self.read() => watch::end(),
                Ok(_) => {}
                Err(_) => signals::run_handlers(),
            }
        }
    }

    /// Reads what is there, descriptors included. Says whether the front is.
    fn read(&mut self) -> bool {
        let mut octets = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let count = match recvmsg(self.outbox.socket(), &mut [IoSliceMut::new(&mut octets)], &mut control, flags) {
            Ok(received) => received.bytes,
            Err(Errno::INTR | Errno::AGAIN) => return true,
            Err(_) => 0,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(links) = message {
                self.links.extend(links);
            }
        }
        self.octets.extend_from_slice(&octets[..count]);
        count > 0
    }

    /// Makes a process. Says whether this is the new one.
    fn fork(&mut self) -> bool {
        match Python::attach(|py| py.import("os")?.call_method0("fork")?.extract::<i32>()) {
            Ok(0) => return true,
            Ok(pid) => self.workers.extend(Pid::from_raw(pid)),
            // The front sees it from the worker's link, which ends with this.
            Err(error) => tracing::error!("no worker can be forked: {error}"),
        }
        false
    }

    /// Tells the front of workers that have ended. (One by one: the app may have processes of its own, which are its to wait for.)
    fn reap(&mut self) {
        let outbox = &self.outbox;
        self.workers.retain(|pid| match waitpid(Some(*pid), WaitOptions::NOHANG) {
            Ok(None) | Err(Errno::INTR) => true,
            Ok(Some((_, status))) => {
                let pid = pid.as_raw_nonzero().get().unsigned_abs();
                tell(outbox, &Ended { pid, code: status.exit_status(), signal: status.terminating_signal() }, ToServer::Ended);
                false
            }
            Err(_) => false,
        });
    }
}
