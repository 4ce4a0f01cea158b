//! The pool of one app: starts its workers, watches them, replaces those that die or are to go, and ends them with the server.
//!
//! A [`slot`] is the place of one [`worker`], which is a [`process`] with a link and a backend. With `preload` the processes are forked by a
//! [`template`], which is one too. The front never runs Python, and no worker's end is the front's.

mod backoff;
mod exit;
mod live;
mod process;
mod recycle;
mod slot;
mod start_error;
mod status;
mod template;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, block_in_place};
use ziggurat_middleware::Finding;

use live::LiveWorkers;
pub(crate) use recycle::Recycling;
use slot::WorkerSlot;
use template::Template;
use worker::Worker;

use super::admission::{Admission, Capacity};
use super::boot::{Boot, Refusal};
use super::launcher::Launcher;
use super::link::frame::ToWorker;

/// How long a process that was told to end may take, when nobody has anything to wait for any more.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How many calls a worker is handed beyond those it can begin, so that its threads need not wait for the next.
pub(crate) const PREFETCH: usize = 64;

/// What a pool is to be.
pub(crate) struct PoolConfig {
    pub(crate) launcher: Launcher,
    /// What each worker is to be, but for its number.
    pub(crate) boot: Boot,
    pub(crate) workers: usize,
    pub(crate) capacity: Capacity,
    /// Variables added to the environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Paths that a template answers once, where there is to be one.
    pub(crate) preload: Option<Vec<String>>,
    pub(crate) recycling: Recycling,
    /// How long the requests of a worker that is replaced may take.
    pub(crate) linger: Duration,
}

impl PoolConfig {
    fn place(&self) -> &str {
        &self.boot.place
    }

    /// What the worker of this number is to be; 0 is the template.
    fn boot(&self, nth: usize) -> Boot {
        let preload = if nth == 0 { self.preload.clone() } else { None };
        Boot { nth, preload, ..self.boot.clone() }
    }
}

/// The workers of one app. Dropped, they end at once.
pub(crate) struct WorkerPool {
    shared: Arc<Shared>,
    runtime: Handle,
    slots: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    config: PoolConfig,
    admission: Arc<Admission>,
    template: Option<Template>,
    live: Arc<LiveWorkers>,
    /// Who is replaced now though it is alive: one at a time.
    turn: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

impl Shared {
    /// Ready when the pool is to end.
    async fn stopping(&self) {
        // An error would mean that nobody is there to stop it.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

impl WorkerPool {
    /// Starts all workers, blocking this thread until every one of them is ready and takes calls of `admission`.
    ///
    /// # Errors
    ///
    /// What the first worker says that cannot serve the app. The others are ended then.
    pub(crate) fn start(config: PoolConfig, admission: Arc<Admission>) -> Result<Self, Refusal> {
        let runtime = Handle::try_current().ok().filter(|runtime| runtime.runtime_flavor() != RuntimeFlavor::CurrentThread);
        let Some(runtime) = runtime else {
            let finding = Finding::new("worker processes need a runtime of several threads around them").at("workers");
            return Err(finding.hint("set `\"workers\": 0` where the stack is built without the server").into());
        };
        let template = config.preload.is_some().then(Template::default);
        let (live, turn, stop) = (Arc::default(), Arc::new(Semaphore::new(1)), watch::Sender::new(false));
        let shared = Arc::new(Shared { config, admission, template, live, turn, stop });
        let workers = block_in_place(|| runtime.block_on(start(&shared)))?;
        let slots = workers.into_iter().map(|mut worker| {
            worker.open();
            runtime.spawn(WorkerSlot::new(Arc::clone(&shared), worker.nth).run(worker))
        });
        let slots = Mutex::new(slots.collect());
        Ok(Self { shared, runtime, slots })
    }

    /// Ends all workers, blocking this thread for a few seconds at most. Calls that still wait are answered.
    pub(crate) fn stop(&self) {
        self.shared.admission.end();
        self.shared.stop.send_replace(true);
        let slots = std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
        block_in_place(|| {
            self.runtime.block_on(async {
                for slot in slots {
                    // An error means that it has panicked, and its worker is gone with it.
                    let _ = slot.await;
                }
                if let Some(template) = &self.shared.template {
                    template.stop().await;
                }
            });
        });
    }

    /// Has all workers write the stacks of their threads to the log.
    pub(crate) fn stacks(&self) {
        self.tell(&ToWorker::Stacks);
    }

    /// Has layers that run in the workers open their log files again.
    pub(crate) fn reopen(&self) {
        self.tell(&ToWorker::Reopen);
    }

    fn tell(&self, order: &ToWorker) {
        for worker in self.shared.live.entries() {
            worker.link.send(order);
        }
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        for slot in &*self.slots.lock().unwrap_or_else(PoisonError::into_inner) {
            slot.abort();
        }
    }
}

/// All workers, ready.
async fn start(shared: &Arc<Shared>) -> Result<Vec<Worker>, Refusal> {
    if let Some(template) = &shared.template {
        template.start(&shared.config).await?;
    }
    Ok(try_join_all((1..=shared.config.workers).map(|nth| Worker::start(shared, nth))).await?)
}
