//! The threads of a worker.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use pyo3::prelude::*;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, write};
use ziggurat_middleware::{Finding, Lifecycle};

use super::super::application::Application;
use super::super::callable::Callable;
use super::super::thread_pool::ThreadPool;
use super::{signals, watch};
use crate::call::{Call, CallSignal};
use crate::worker::boot::Boot;
use crate::worker::link::call_state::LinkPermit;
use crate::worker::link::worker_end::{CallHandler, End, WorkerEnd};

/// A worker's threads.
pub(super) struct Service {
    handler: Arc<Handler>,
}

/// Handles the frames of the link.
struct Handler {
    pool: ThreadPool<LinkPermit>,
    /// The lifecycle of layers that run here.
    lifecycle: Lifecycle,
    /// Readable when no more calls come.
    stopped: OwnedFd,
}

impl Service {
    /// Starts the threads that call the app, and the one that reads the link.
    pub(super) fn start(link: WorkerEnd, boot: &Boot, app: &Callable, lifecycle: Lifecycle) -> Result<Self, Finding> {
        let outbox = link.outbox();
        let multithread = boot.threads > 1 || boot.takes_websockets;
        let application = Python::attach(|py| Application::new(py, app.object(py), &boot.place, multithread, boot.is_multiprocess))?;
        let not_started = |error| Finding::new(format!("the app's threads cannot be started: {error}")).at("threads");
        // Before a thread sleeps, it sends what it has posted.
        let pool =
            ThreadPool::start(&Arc::new(application), boot.threads, move || outbox.nudge(), signals::dump_stacks).map_err(not_started)?;
        let stopped = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| not_started(error.into()))?;
        let handler = Arc::new(Handler { pool, lifecycle, stopped });
        let of_link = Arc::clone(&handler);
        thread::Builder::new().name("ziggurat-link".to_owned()).spawn(move || read(link, &of_link)).map_err(not_started)?;
        Ok(Self { handler })
    }

    /// Waits on the main thread until the server stops this worker and its calls are finished. The server limits how long that takes.
    pub(super) fn wait(&self) {
        while let Err(Errno::INTR) = poll(&mut [PollFd::new(&self.handler.stopped, PollFlags::IN)], None) {
            signals::run_handlers();
        }
        self.handler.pool.wait();
    }
}

/// The loop of the thread that reads the link.
fn read(link: WorkerEnd, handler: &Handler) {
    if let End::Malformed(malformed) = link.run(handler) {
        tracing::error!("protocol error on the link to the server: {malformed}");
    }
    watch::end();
}

impl CallHandler for Handler {
    fn put(&self, call: Call, permit: LinkPermit) {
        self.pool.put(call, permit);
    }

    fn begin(&self) {
        self.pool.wake();
    }

    fn recall(&self, number: u64) -> Option<(Call, LinkPermit)> {
        self.pool.recall(number)
    }

    fn signal(&self, number: u64, signal: CallSignal) {
        self.pool.signal(number, signal);
    }

    fn stacks(&self) {
        self.pool.stacks();
    }

    fn reopen(&self) {
        self.lifecycle.reopen();
    }

    fn stop(&self) {
        self.pool.finish();
        // A second stop has no effect.
        let _ = write(&self.stopped, &1_u64.to_ne_bytes());
    }
}
