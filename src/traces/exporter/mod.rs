//! Sends spans to a collector in batches (OTLP/HTTP 1.x): bounded in memory and in time, whatever the collector does. A request never waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use ziggurat_middleware::metrics::Counter;
use ziggurat_middleware::trace::Span;
use ziggurat_middleware::{Client, Context, Summary};

use super::messages;
use super::options::TracesOptions;
use crate::otlp::Delivery;

/// The most spans that wait. Further ones are dropped and counted.
const QUEUE: usize = 2048;

/// The most spans in a request.
const BATCH: usize = 512;

/// How long spans wait for others.
const DELAY: Duration = Duration::from_secs(5);

/// How often a batch is sent before it is dropped.
const ATTEMPTS: u32 = 5;

/// The pause after the first attempt; it doubles. A collector may ask for a longer one, up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long the end of a stack waits until its spans are sent.
const FLUSH: Duration = Duration::from_secs(5);

/// The end of the queue for spans.
#[derive(Clone)]
pub(super) struct Exporter {
    spans: Sender<Span>,
    figures: Arc<Figures>,
}

/// How many spans were sent and lost. They outlive a reload.
#[derive(Default)]
struct Figures {
    exported: Counter,
    /// The queue was full.
    dropped: Counter,
    /// The collector has rejected them, or could not be reached.
    failed: Counter,
}

impl Exporter {
    /// Starts to export what is put into the queue, until the stack ends. Then what is left is sent, within some seconds.
    pub(super) fn start(options: &TracesOptions, client: Client, context: &Context) -> Self {
        let figures = context.keep(Figures::default);
        let (spans, queue) = channel(QUEUE);
        let closing = CancellationToken::new();
        let worker = Worker {
            service: options.service.clone(),
            delivery: options.delivery(client),
            figures: Arc::clone(&figures),
            closing: closing.clone(),
            failures: Summary::default(),
            in_flight: AtomicU64::new(0),
        };
        // Not a task of the stack: it sends what the last requests have recorded after those have ended.
        let task = tokio::spawn(worker.run(queue));
        let runtime = Handle::current();
        context.on_shutdown(move || {
            closing.cancel();
            // It ends in time by itself. A panic has been logged.
            let _ = runtime.block_on(task);
        });
        let scraped = Arc::clone(&figures);
        context.on_scrape(move |metrics| {
            let spans = metrics.counter("ziggurat_spans_total", "Spans of traces, by what became of them.");
            spans.sample(&[("outcome", "exported")], &scraped.exported);
            spans.sample(&[("outcome", "dropped")], &scraped.dropped);
            spans.sample(&[("outcome", "failed")], &scraped.failed);
        });
        Self { spans, figures }
    }

    /// Puts a span into the queue, or drops it if there is no room.
    pub(super) fn export(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.figures.dropped.add(1);
        }
    }
}

/// Takes spans out of the queue.
struct Worker {
    service: String,
    delivery: Delivery,
    figures: Arc<Figures>,
    closing: CancellationToken,
    failures: Summary<&'static str>,
    /// How many spans the batch has that is being sent.
    in_flight: AtomicU64,
}

impl Worker {
    /// Sends what comes, and what is left when the stack ends, within [`FLUSH`].
    async fn run(self, mut queue: Receiver<Span>) {
        let end = async {
            self.closing.cancelled().await;
            sleep(FLUSH).await;
        };
        tokio::select! {
            () = self.work(&mut queue) => {}
            () = end => self.log("spans were lost", "the stack has ended"),
        }
        self.figures.failed.add(self.in_flight.load(Relaxed) + queue.len() as u64);
    }

    async fn work(&self, queue: &mut Receiver<Span>) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => break,
                received = queue.recv_many(&mut batch, BATCH) => if received == 0 { return },
            }
            let full = Instant::now() + DELAY;
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                tokio::select! {
                    biased;
                    () = self.closing.cancelled() => break,
                    received = timeout_at(full, queue.recv_many(&mut batch, room)) => if !matches!(received, Ok(1..)) { break },
                }
            }
            self.send(std::mem::take(&mut batch)).await;
        }
        queue.close();
        while queue.recv_many(&mut batch, BATCH).await > 0 {
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Sends a batch, again where that may help.
    async fn send(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        self.in_flight.store(count, Relaxed);
        let lost = self.deliver(spans).await;
        self.in_flight.store(0, Relaxed);
        self.figures.exported.add(count - lost);
        self.figures.failed.add(lost);
    }

    /// Returns how many spans were lost.
    async fn deliver(&self, spans: Vec<Span>) -> u64 {
        let count = spans.len() as u64;
        let message = self.delivery.pack(messages::encode(&self.service, spans)).await;
        let mut pause = PAUSE;
        for attempt in 1.. {
            let failure = match self.delivery.send(message.clone()).await {
                Ok(response) => return self.rejected(response).min(count),
                Err(failure) => failure,
            };
            let asked = match failure.retry {
                Some(asked) if attempt < ATTEMPTS && !self.closing.is_cancelled() => asked,
                _ => {
                    self.log("spans were lost", &failure.cause);
                    return count;
                }
            };
            // Between the pause and one and a half, so that many servers do not come back at once.
            let jittered = pause.mul_f64(1.0 + fastrand::f64() / 2.0);
            tokio::select! {
                () = sleep(asked.unwrap_or(jittered).clamp(jittered, LONGEST_PAUSE.max(jittered))) => {}
                () = self.closing.cancelled() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        count
    }

    /// How many spans a collector that has taken the others rejects.
    fn rejected(&self, response: Option<Bytes>) -> u64 {
        let Some((rejected, message)) = response.and_then(messages::rejected) else { return 0 };
        self.log("the collector has rejected spans", &format!("{rejected}: {}", message.escape_debug()));
        rejected
    }

    fn log(&self, what: &'static str, cause: &str) {
        let is_first = self.failures.begins(
            what,
            || cause.to_owned(),
            move |count, latest, seconds| {
                tracing::warn!(count, "{what} {count} more times within {seconds} s, the last time because {latest}");
            },
        );
        if is_first {
            tracing::warn!(collector = %self.delivery.url(), "{what}: {cause}");
        }
    }
}

#[cfg(test)]
mod tests;
