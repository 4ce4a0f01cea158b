//! The threads of a worker.

use std::sync::Arc;
use std::thread;

use pyo3::prelude::*;
use ziggurat_middleware::{Finding, Lifecycle};

use super::super::application::Application;
use super::super::callable::Callable;
use super::super::environ::Concurrency;
use super::super::scheduling::run_in_batches;
use super::super::sleeper::Sleeper;
use super::super::thread_pool::ThreadPool;
use super::exit_hook::ExitHook;
use super::{signals, watch};
use crate::call::{Call, CallSignal};
use crate::worker::boot::Boot;
use crate::worker::link::call_state::LinkPermit;
use crate::worker::link::worker_end::{CallHandler, End, WorkerEnd};

/// A worker's threads.
pub(super) struct Service {
    handler: Arc<Handler>,
    /// With one thread, it is this one, as in a server of one thread: the app may handle signals, and has what an import sets per thread.
    is_on_main: bool,
}

/// Handles the frames of the link.
struct Handler {
    pool: ThreadPool<LinkPermit>,
    /// The lifecycle of layers that run here.
    lifecycle: Lifecycle,
    exit_hook: Option<ExitHook>,
    /// The main thread.
    main: Sleeper,
}

impl Service {
    /// Starts the threads that call the app, and the one that reads the link.
    pub(super) fn start(mut link: WorkerEnd, boot: &Boot, app: &Callable, lifecycle: Lifecycle) -> Result<Self, Finding> {
        if boot.is_timed {
            link.time_calls(boot.stack.is_some());
        }
        let outbox = link.outbox();
        let multithread = boot.threads > 1 || boot.takes_websockets;
        let concurrency = Concurrency { multithread, multiprocess: boot.is_multiprocess, run_once: false };
        let application = Python::attach(|py| Application::new(py, app, &boot.place, concurrency)?.owned(py))?;
        let not_started =
            |error: &dyn std::fmt::Display| Finding::new(format!("the app's threads cannot be started: {error}")).at("threads");
        // Before a thread sleeps, it sends what it has posted.
        let is_on_main = boot.threads == 1;
        let main = Sleeper::of_main_thread().map_err(|error| not_started(&error))?;
        let pool = ThreadPool::start(&Arc::new(application), boot.threads, is_on_main, move || outbox.nudge(), signals::dump_stacks)
            .map_err(|error| not_started(&error))?;
        let handler = Arc::new(Handler { pool, lifecycle, exit_hook: ExitHook::import(boot)?, main });
        let of_link = Arc::clone(&handler);
        let reader = thread::Builder::new().name("ziggurat-link".to_owned()).spawn(move || read(link, &of_link));
        reader.map_err(|error| not_started(&error))?;
        Ok(Self { handler, is_on_main })
    }

    /// Runs on the main thread until the server stops this worker and its calls are finished. The server limits how long that takes.
    pub(super) fn run(&self) {
        let Handler { pool, main, .. } = &*self.handler;
        if self.is_on_main {
            pool.run_here(main);
        }
        while !pool.is_closed() {
            main.sleep();
        }
        pool.wait();
    }
}

/// The loop of the thread that reads the link.
fn read(link: WorkerEnd, handler: &Handler) {
    run_in_batches();
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

    fn worker_ended(&self, json: &[u8]) {
        if let (Some(hook), Ok(ended)) = (&self.exit_hook, serde_json::from_slice(json)) {
            hook.call(ended);
        }
    }

    fn stop(&self) {
        self.pool.finish();
        self.main.wake();
    }
}
