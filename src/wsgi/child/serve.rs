//! The threads of a worker that serves.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use pyo3::prelude::*;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, write};
use ziggurat_middleware::{Finding, Lifecycle};

use super::super::application::Application;
use super::super::callable::Callable;
use super::super::pool::Pool;
use super::{signals, watch};
use crate::call::{Call, Word};
use crate::worker::boot::Boot;
use crate::worker::link::back::{Back, End, Office};
use crate::worker::link::call_state::LinkPermit;

/// A worker's threads.
pub(super) struct Service {
    desk: Arc<Desk>,
}

/// What the thread that reads the link acts upon.
struct Desk {
    pool: Pool<LinkPermit>,
    /// Of the layers that run here.
    lifecycle: Lifecycle,
    /// Readable once no more calls come.
    stopped: OwnedFd,
}

impl Service {
    /// Starts the threads that call the app, and the one that hears the front.
    pub(super) fn start(back: Back, boot: &Boot, app: &Callable, lifecycle: Lifecycle) -> Result<Self, Finding> {
        let outbox = back.outbox();
        let application = Python::attach(|py| Application::new(py, app.object(py), &boot.place, boot.threads > 1, boot.is_multiprocess))?;
        let unstarted = |error| Finding::new(format!("the app's threads cannot be started: {error}")).at("threads");
        // What is over and was not told goes before a thread sleeps.
        let pool = Pool::start(&Arc::new(application), boot.threads, move || outbox.nudge(), signals::dump_stacks).map_err(unstarted)?;
        let stopped = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| unstarted(error.into()))?;
        let desk = Arc::new(Desk { pool, lifecycle, stopped });
        let office = Arc::clone(&desk);
        thread::Builder::new().name("ziggurat-link".to_owned()).spawn(move || hear(back, &office)).map_err(unstarted)?;
        Ok(Self { desk })
    }

    /// Waits, on the main thread, until the front wants no more of this worker and the calls at hand are finished. How long that may take is for
    /// the front to say.
    pub(super) fn wait(&self) {
        while let Err(Errno::INTR) = poll(&mut [PollFd::new(&self.desk.stopped, PollFlags::IN)], None) {
            signals::run_handlers();
        }
        self.desk.pool.wait();
    }
}

/// The life of the thread that reads the link.
fn hear(back: Back, desk: &Desk) {
    if let End::Malformed(malformed) = back.run(desk) {
        tracing::error!("the server is not understood: {malformed}");
    }
    watch::end();
}

impl Office for Desk {
    fn put(&self, call: Call, permit: LinkPermit) {
        self.pool.put(call, permit);
    }

    fn begin(&self) {
        self.pool.wake();
    }

    fn recall(&self, number: u64) -> Option<(Call, LinkPermit)> {
        self.pool.recall(number)
    }

    fn tell(&self, number: u64, word: Word) {
        self.pool.tell(number, word);
    }

    fn stacks(&self) {
        self.pool.stacks();
    }

    fn reopen(&self) {
        self.lifecycle.reopen();
    }

    fn stop(&self) {
        self.pool.finish();
        // Whoever stops twice is heard once.
        let _ = write(&self.stopped, &1_u64.to_ne_bytes());
    }
}
