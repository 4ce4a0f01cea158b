//! One worker: its process, its link, and its place among the backends.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until, timeout};

use super::exit::WorkerExit;
use super::live::{Registration, WorkerState};
use super::process::Process;
use super::recycle::{CountedBackend, Reason, Recycling};
use super::start_error::StartError;
use super::{STOP_TIMEOUT, Shared};
use crate::worker::admission::BackendId;
use crate::worker::boot::WorkerEnded;
use crate::worker::link::frame::ToWorker;
use crate::worker::link::server_end::{NotReady, ServerEnd};
use crate::worker::process_status::memory;

/// A worker that takes calls. Dropping it kills it.
pub(super) struct Worker {
    pool: Arc<Shared>,
    pub(super) nth: usize,
    pub(super) pid: u32,
    since: Instant,
    process: Process,
    link: Arc<ServerEnd>,
    counted: Arc<CountedBackend>,
    backend: Option<BackendId>,
    registration: Registration,
    /// Why it ended, for the app.
    cause: String,
    _socket_guard: ShutdownOnDrop,
}

/// Shuts the server's end of a link down when it is dropped, whoever else holds it. The worker then ends.
struct ShutdownOnDrop(UnixStream);

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        // An error means that it is closed.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// How long to wait for the end of the link after the process has ended. (A process that it forked may hold the link open.)
const LINK_TIMEOUT: Duration = Duration::from_millis(500);

/// How often the memory is checked.
const LOOK: Duration = Duration::from_secs(1);

impl Worker {
    /// Starts a worker and waits until it is ready, or `start_timeout` is over. It takes no calls before [`Worker::open`].
    pub(super) async fn start(pool: &Arc<Shared>, nth: usize) -> Result<Self, StartError> {
        let (mut process, socket) = match &pool.template {
            Some(template) => template.fork(&pool.config).await?,
            None => Process::spawn(&pool.config, nth).await?,
        };
        let socket_guard = ShutdownOnDrop(socket.try_clone()?);
        let link = ServerEnd::start(socket, &pool.config.boot(nth), &pool.admission)?;
        let counted = Arc::new(CountedBackend::new(Arc::clone(&link) as _, &pool.config.recycling));
        let limit = pool.config.start_timeout;
        let Ok(ready) = timeout(limit, link.ready()).await else {
            process.show_stacks().await;
            return Err(StartError::Late(limit));
        };
        match ready {
            Ok(ready) => {
                process.introduce(ready.pid);
                let registration = pool.live.register(nth, ready.pid, Arc::clone(&link), Arc::clone(&counted));
                let (pool, since) = (Arc::clone(pool), Instant::now());
                Ok(Self {
                    pool,
                    nth,
                    pid: ready.pid,
                    since,
                    process,
                    link,
                    counted,
                    backend: None,
                    registration,
                    cause: "stopped".to_owned(),
                    _socket_guard: socket_guard,
                })
            }
            Err(NotReady::Refused(json)) => Err(StartError::refused(&json)),
            Err(NotReady::Gone) => {
                drop(socket_guard);
                // A forked process that never reported its id cannot be waited for.
                Err(StartError::Died(timeout(LINK_TIMEOUT, process.exited()).await.unwrap_or(WorkerExit::Unlinked)))
            }
        }
    }

    /// Lets the worker take calls.
    pub(super) fn open(&mut self) {
        let backend = self.pool.admission.open(Arc::clone(&self.counted) as _, self.pool.config.capacity);
        self.registration.open(backend);
        self.backend = Some(backend);
        if let Some(notices) = &self.pool.config.exit_notices {
            notices.tell_waiting(&self.link);
        }
        self.since = Instant::now();
    }

    /// How long it has taken calls.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Waits until the process has ended and the link is read to its end. A worker without a link is killed.
    pub(super) async fn ended(&mut self) -> WorkerExit {
        let exited = tokio::select! {
            exit = self.process.exited() => Some(exit),
            () = self.link.ended() => None,
        };
        // From here on calls go to other workers, or wait.
        self.close();
        if let Some(exit) = exited {
            // After the timeout, a process that the worker forked holds the link.
            let _ = timeout(LINK_TIMEOUT, self.link.ended()).await;
            return exit;
        }
        let is_told = self.process.is_told();
        if is_told && let Ok(exit) = timeout(LINK_TIMEOUT, self.process.exited()).await {
            return exit;
        }
        self.process.kill();
        if is_told {
            let _ = timeout(LINK_TIMEOUT, self.process.exited()).await;
            return WorkerExit::Unlinked;
        }
        WorkerExit::Unknown
    }

    /// Waits until one of the limits of its life is reached.
    pub(super) fn due(&self) -> impl Future<Output = Reason> + Send + use<> {
        let Recycling { requests, age, memory } = self.pool.config.recycling;
        let (link, counted, since, pid) = (Arc::clone(&self.link), Arc::clone(&self.counted), self.since, self.pid);
        async move {
            tokio::select! {
                () = link.stuck() => Reason::Deadline,
                () = counted.reached(), if requests.is_some() => Reason::Requests,
                () = sleep_until((since + age.unwrap_or_default()).into()), if age.is_some() => Reason::Age,
                () = outgrown(pid, memory.unwrap_or_default()), if memory.is_some() => Reason::Memory,
            }
        }
    }

    /// Takes no more calls.
    fn close(&mut self) {
        if let Some(backend) = self.backend.take() {
            self.pool.admission.close(backend);
        }
    }

    /// Notes why it is replaced.
    pub(super) fn set_cause(&mut self, cause: impl Into<String>) {
        self.cause = cause.into();
    }

    /// Answers or returns the calls of a process that is gone.
    pub(super) fn abandon(&mut self, how: &str) {
        self.close();
        self.link.fail_calls(self.pool.config.capacity, how);
    }

    /// Takes no more calls. Returns when its calls are over.
    pub(super) fn retire(&self) -> impl Future<Output = ()> + Send + use<> {
        self.registration.set(WorkerState::Retiring);
        let (pool, backend) = (Arc::clone(&self.pool), self.backend);
        async move {
            if let Some(backend) = backend {
                pool.admission.retire(backend).await;
            }
        }
    }

    /// Waits until the process has ended, or the link if nobody reports the process.
    async fn gone(&mut self) {
        tokio::select! {
            _ = self.process.exited() => {}
            () = self.link.ended() => drop(timeout(LINK_TIMEOUT, self.process.exited()).await),
        }
    }

    /// Asks the process to exit, and kills it after `grace`.
    pub(super) async fn stop(mut self, grace: Duration) {
        self.registration.set(WorkerState::Stopping);
        self.link.send(&ToWorker::Stop);
        if timeout(grace, self.gone()).await.is_err() {
            if !grace.is_zero() {
                tracing::warn!(app = self.pool.config.place(), worker = self.nth, pid = self.pid, "the worker does not stop and is killed");
            }
            self.process.kill();
            let _ = timeout(STOP_TIMEOUT, self.gone()).await;
        }
        // Reads its last frames.
        let _ = timeout(LINK_TIMEOUT, self.link.ended()).await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Until then the admission and the link hold each other.
        self.abandon("it was stopped");
        if let Some(notices) = &self.pool.config.exit_notices {
            notices.tell(WorkerEnded { pid: self.pid, cause: std::mem::take(&mut self.cause) });
        }
    }
}

/// Waits until a process uses more memory than `limit`.
async fn outgrown(pid: u32, limit: u64) {
    while memory(pid).is_none_or(|octets| octets <= limit) {
        sleep(LOOK).await;
    }
}
