//! Metrics at a collector (OTLP): the figures that the app `metrics` shows, sent at regular intervals.
//!
//! Values count from the start of the program. What a collector has missed is in the next ones, so nothing waits and nothing is sent twice.

mod messages;
mod options;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use ziggurat_middleware::metrics::Counter;
use ziggurat_middleware::{Client, Context, Scraper, Summary};

use crate::otlp::Delivery;
pub use options::MetricsOptions;

/// How long the end of a stack waits until its last figures are sent.
const FLUSH: Duration = Duration::from_secs(5);

/// What outlives a reload.
struct Figures {
    /// Since when counters count.
    start: SystemTime,
    sent: Counter,
    failed: Counter,
}

/// Sends the figures of a stack.
struct Exporter {
    service: String,
    every: Duration,
    delivery: Delivery,
    scraper: Scraper,
    figures: Arc<Figures>,
    failures: Summary<()>,
}

/// Starts to send the metrics of the stack. It ends with the stack, after the last figures are sent, for some seconds at most. Does nothing in a program without an HTTP client, such as a test of a
/// pipeline file.
pub(crate) fn export(options: &MetricsOptions, context: &Context) {
    let Some(client) = context.host::<Client>() else { return };
    let new = || Figures { start: SystemTime::now(), sent: Counter::default(), failed: Counter::default() };
    let figures = context.keep(new);
    let exporter = Exporter {
        service: options.service.clone(),
        every: options.every.0,
        delivery: options.delivery(client.clone()),
        scraper: context.scraper(),
        figures: Arc::clone(&figures),
        failures: Summary::default(),
    };
    context.on_scrape(move |metrics| {
        let exports =
            metrics.counter("ziggurat_metrics_exports_total", "Requests that sent metrics to a collector, by what became of them.");
        exports.sample(&[("outcome", "sent")], &figures.sent);
        exports.sample(&[("outcome", "failed")], &figures.failed);
    });
    let closing = CancellationToken::new();
    let task = tokio::spawn(exporter.run(closing.clone()));
    let runtime = Handle::current();
    context.on_shutdown(move || {
        closing.cancel();
        // It ends in time by itself. A panic has been logged.
        let _ = runtime.block_on(task);
    });
}

impl Exporter {
    /// Sends the figures of each interval, and the last ones when the stack ends.
    async fn run(self, closing: CancellationToken) {
        let mut ticks = interval_at(Instant::now() + self.every, self.every);
        // A slow collector gets fewer.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let regular = async {
            loop {
                ticks.tick().await;
                self.send().await;
            }
        };
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
            () = regular => {}
        }
        if timeout(FLUSH, self.send()).await.is_err() {
            self.figures.failed.add(1);
        }
    }

    async fn send(&self) {
        let metrics = self.scraper.scrape();
        let message = messages::encode(&self.service, &metrics, self.figures.start, SystemTime::now());
        match self.delivery.send(self.delivery.pack(message).await).await {
            Ok(_) => self.figures.sent.add(1),
            Err(failure) => {
                self.figures.failed.add(1);
                self.log(&failure.cause);
            }
        }
    }

    fn log(&self, cause: &str) {
        let sum_up = |count: u64, latest: String, seconds: u64| {
            tracing::warn!(count, "metrics were not sent {count} more times within {seconds} s, the last time because {latest}");
        };
        if self.failures.begins((), || cause.to_owned(), sum_up) {
            tracing::warn!(collector = %self.delivery.url(), "metrics were not sent: {cause}");
        }
    }
}

#[cfg(test)]
mod tests;
