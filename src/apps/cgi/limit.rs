//! How many programs run at the same time, and the requests that wait for one of them to end.

use std::convert::Infallible;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use ziggurat_middleware::{Context, Metrics, Place};

use crate::upstream::{Queue, QueueMetrics, QueueOptions};

/// The running programs and the queue of an app.
pub(super) struct Limit {
    place: Place,
    running: Arc<Semaphore>,
    most: usize,
    options: QueueOptions,
    queue: Queue,
    /// A copy for each run. `None` when the stack ends.
    runs: Mutex<Option<Sender<Infallible>>>,
}

/// The right to run a program, until it is dropped.
pub(super) struct RunPermit {
    _permit: OwnedSemaphorePermit,
    _run: Sender<Infallible>,
}

/// How long the end of the stack waits for programs that are killed.
const END: Duration = Duration::from_secs(2);

const QUEUE: QueueMetrics = QueueMetrics {
    length: ("ziggurat_cgi_queue_length", "Requests that wait until a program may run."),
    waits: ("ziggurat_cgi_queue_wait_seconds", "Time that requests waited until a program could run."),
    refused: ("ziggurat_cgi_refused_total", "Requests refused with 503."),
};

impl Limit {
    /// At most `most` programs. `status` and the metrics show how many run.
    pub(super) fn new(context: &Context, most: usize, options: QueueOptions) -> Arc<Self> {
        let most = most.min(Semaphore::MAX_PERMITS);
        let running = Arc::new(Semaphore::new(most));
        let (run, all_ended) = channel::<Infallible>();
        let (place, runs) = (context.place().clone(), Mutex::new(Some(run)));
        let limit = Arc::new(Self { place, running, most, options, queue: Queue::default(), runs });
        let ending = Arc::clone(&limit);
        context.on_shutdown(move || {
            drop(ending.runs().take());
            // Ready when the last run has dropped its copy.
            let _ = all_ended.recv_timeout(END);
        });
        let (status, metrics) = (Arc::downgrade(&limit), Arc::downgrade(&limit));
        context.on_status(move || status.upgrade().map(|limit| limit.status()).unwrap_or_default());
        context.on_scrape(move |all| _ = Weak::upgrade(&metrics).map(|limit| limit.scrape(all)));
        limit
    }

    /// Waits until another program may run. `None` if that takes too long, or if too many wait.
    pub(super) async fn admit(&self) -> Option<RunPermit> {
        let permit = self.permit().await?;
        Some(RunPermit { _permit: permit, _run: self.runs().clone()? })
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Some(permit);
        }
        let since = Instant::now();
        let Some(_place) = self.queue.enter(self.options.limit) else {
            self.queue.refused_full.add(1);
            return None;
        };
        match timeout(self.options.wait(), Arc::clone(&self.running).acquire_owned()).await {
            Ok(Ok(permit)) => {
                self.queue.waits.observe(since.elapsed());
                Some(permit)
            }
            _ => {
                self.queue.refused_waited.add(1);
                None
            }
        }
    }

    fn runs(&self) -> MutexGuard<'_, Option<Sender<Infallible>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> usize {
        self.most.saturating_sub(self.running.available_permits())
    }

    fn status(&self) -> Value {
        let mut fields = self.queue.status(self.options.limit);
        fields.insert("programs".to_owned(), json!({ "running": self.running(), "limit": self.most }));
        Value::Object(fields)
    }

    fn scrape(&self, metrics: &mut Metrics) {
        let app = self.place.as_str();
        metrics.gauge("ziggurat_cgi_programs", "Programs that run.").sample(&[("app", app)], self.running());
        self.queue.scrape(app, &QUEUE, metrics);
    }
}
