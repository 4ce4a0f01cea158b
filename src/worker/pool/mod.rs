//! The worker processes of one app: starts, supervises, replaces and stops them.
//!
//! A [`slot`] keeps one [`worker`] running, which is a [`process`] with a link and a backend. With `preload`, a [`template`] process forks the
//! workers.

mod backoff;
mod exit;
mod exit_notices;
mod handover;
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
use ziggurat_middleware::{Finding, Retired};

pub(crate) use exit_notices::ExitNotices;
pub(crate) use handover::CurrentPool;
use handover::Succession;
use live::LiveWorkers;
pub(crate) use recycle::Recycling;
use slot::WorkerSlot;
use start_error::StartError;
use template::Template;
use worker::Worker;

use super::admission::{Admission, Capacity};
use super::boot::{Boot, Refusal};
use super::environment::Inherited;
use super::launcher::Launcher;
use super::link::frame::ToWorker;
use super::spawner::Spawner;

/// How long a process may take to exit when nobody waits for its calls any more.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How many calls a worker prefetches, so that its threads need not wait for the next one.
pub(crate) const PREFETCH: usize = 64;

/// The configuration of a pool.
pub(crate) struct PoolConfig {
    pub(crate) launcher: Launcher,
    /// Starts the workers, if they are of another user than this process, which is not root's any more.
    pub(crate) spawner: Option<Arc<Spawner>>,
    /// What each worker is to run; the number is set per worker.
    pub(crate) boot: Boot,
    pub(crate) workers: usize,
    pub(crate) capacity: Capacity,
    /// What the workers inherit of the environment.
    pub(crate) inherited: Inherited,
    /// Variables added to the environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Set with `preload`: the paths that the template requests once.
    pub(crate) preload: Option<Vec<String>>,
    pub(crate) recycling: Recycling,
    /// How long the requests of a replaced worker may take.
    pub(crate) linger: Duration,
    /// How long a worker, or the template, may take to import the app.
    pub(crate) start_timeout: Duration,
    /// Whether a worker ends before another one takes its place.
    pub(crate) old_first: bool,
    /// Where the ends of workers are reported, if the app wants to know of them.
    pub(crate) exit_notices: Option<Arc<ExitNotices>>,
    /// Whether this is development: the workers have the server's standard input, for debuggers.
    pub(crate) is_watched: bool,
}

impl PoolConfig {
    fn place(&self) -> &str {
        &self.boot.place
    }

    /// The first frame for a worker; 0 is the template.
    fn boot(&self, nth: usize) -> Boot {
        let preload = if nth == 0 { self.preload.clone() } else { None };
        Boot { nth, preload, ..self.boot.clone() }
    }
}

/// The workers of one app. Dropping it kills them.
pub(crate) struct WorkerPool {
    shared: Arc<Shared>,
    runtime: Handle,
    slots: Mutex<Vec<JoinHandle<()>>>,
    /// The other pools of the app; set before it serves.
    succession: Option<Succession>,
}

struct Shared {
    config: PoolConfig,
    admission: Arc<Admission>,
    template: Option<Template>,
    live: Arc<LiveWorkers>,
    /// Held while a live worker is replaced: one at a time.
    turn: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    /// Whether the workers make room for those of the next stack.
    pause: watch::Sender<bool>,
    /// How many slots do.
    paused: watch::Sender<usize>,
}

impl Shared {
    /// Waits until the workers have to make room.
    async fn pausing(&self) {
        let _ = self.pause.subscribe().wait_for(|pause| *pause).await;
    }

    /// Waits until the pool is stopped.
    async fn stopping(&self) {
        // An error means that the pool is gone.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

impl WorkerPool {
    /// Starts all workers. Blocks this thread until all of them are ready and take calls of `admission`, or until the stack has `retired`.
    ///
    /// # Errors
    ///
    /// What the first worker that cannot serve the app reports. The others are stopped.
    pub(crate) fn start(config: PoolConfig, admission: Arc<Admission>, retired: &Retired) -> Result<Self, Refusal> {
        let runtime = Handle::try_current().ok().filter(|runtime| runtime.runtime_flavor() != RuntimeFlavor::CurrentThread);
        let Some(runtime) = runtime else {
            let finding = Finding::new("worker processes need a multi-threaded tokio runtime").at("workers");
            return Err(finding.hint("set `\"workers\": 0` if the stack is built without the server").into());
        };
        let template = config.preload.is_some().then(Template::default);
        let (live, turn, stop) = (Arc::default(), Arc::new(Semaphore::new(1)), watch::Sender::new(false));
        if let Some(notices) = &config.exit_notices {
            notices.add(&live);
        }
        let (pause, paused) = (watch::Sender::new(false), watch::Sender::new(0));
        let shared = Arc::new(Shared { config, admission, template, live, turn, stop, pause, paused });
        let started = async {
            tokio::select! {
                biased;
                () = retired.wait() => Err(StartError::Abandoned),
                started = start(&shared) => started,
            }
        };
        let workers = block_in_place(|| runtime.block_on(started))?;
        let slots = workers.into_iter().map(|mut worker| {
            worker.open();
            runtime.spawn(WorkerSlot::new(Arc::clone(&shared), worker.nth).run(worker))
        });
        let slots = Mutex::new(slots.collect());
        Ok(Self { shared, runtime, slots, succession: None })
    }

    /// Stops all workers. Blocks this thread for a few seconds at most. Waiting calls are answered.
    pub(crate) fn stop(&self) {
        if !self.has_queue_for_another() {
            self.shared.admission.end();
        }
        self.shared.stop.send_replace(true);
        let slots = std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
        block_in_place(|| {
            self.runtime.block_on(async {
                for slot in slots {
                    // An error means that the task panicked; its worker is gone, too.
                    let _ = slot.await;
                }
                if let Some(template) = &self.shared.template {
                    template.stop().await;
                }
            });
        });
    }

    /// Logs the Python stacks of all workers.
    pub(crate) fn stacks(&self) {
        self.tell(&ToWorker::Stacks);
    }

    /// Reopens the log files of layers that run in the workers.
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

/// Starts all workers and waits until they are ready. One imports the app before all others: what an import does once, such as a migration, is done
/// then.
async fn start(shared: &Arc<Shared>) -> Result<Vec<Worker>, StartError> {
    if let Some(template) = &shared.template {
        template.start(&shared.config).await?;
    }
    let mut workers = vec![Worker::start(shared, 1).await?];
    workers.extend(try_join_all((2..=shared.config.workers).map(|nth| Worker::start(shared, nth))).await?);
    Ok(workers)
}
