//! Collectors that are away, slow, busy or wrong.

use std::path::Path;
use std::sync::Mutex;

use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use tower::service_fn;
use ziggurat_middleware::trace::{OpenSpan, Recorder, SpanKind, TraceContext};
use ziggurat_middleware::{Body, BoxError, Lifecycle, Request, Response};

use super::*;

/// What a collector answers to its n-th request, from 0.
type Answer = fn(usize) -> Option<(u16, &'static [(&'static str, &'static str)], &'static [u8])>;

struct Collector {
    client: Client,
    /// When each request came, and its octets.
    requests: Arc<Mutex<Vec<(Instant, Bytes)>>>,
}

impl Collector {
    /// `None` is a connection that is refused; the status 0 is no response at all.
    fn answering(answer: Answer) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let client = Client::new(service_fn(move |request: Request| {
            let seen = Arc::clone(&seen);
            async move {
                assert_eq!(request.uri(), "http://collector/v1/traces");
                assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let nth = seen.lock().unwrap().len();
                seen.lock().unwrap().push((Instant::now(), body));
                let Some((status, headers, body)) = answer(nth) else { return Err(BoxError::from("refused")) };
                if status == 0 {
                    std::future::pending::<()>().await;
                }
                let mut response = Response::new(Body::from(body.to_vec()));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                for (name, value) in headers {
                    response.headers_mut().insert(*name, HeaderValue::from_static(value));
                }
                Ok(response)
            }
        }));
        Self { client, requests }
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// Seconds between requests, rounded down.
    fn pauses(&self) -> Vec<u64> {
        self.requests.lock().unwrap().windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs()).collect()
    }
}

fn exporter(collector: &Collector) -> (Exporter, Lifecycle) {
    let lifecycle = Lifecycle::default();
    let options = serde_json::from_str(r#"{ "to": "http://collector" }"#).unwrap();
    let context = Context::new("traces", Path::new(""), lifecycle.clone());
    (Exporter::start(&options, collector.client.clone(), &context), lifecycle)
}

fn export(exporter: &Exporter, count: usize) {
    let exporter = exporter.clone();
    let recorder = Recorder::new(move |span| exporter.export(span));
    for _ in 0..count {
        drop(OpenSpan::new("GET", SpanKind::Server, TraceContext::root(|_| true), None, recorder.clone()));
    }
}

/// Exported, dropped, failed.
fn figures(exporter: &Exporter) -> [u64; 3] {
    [&exporter.figures.exported, &exporter.figures.dropped, &exporter.figures.failed].map(Counter::get)
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn spans_wait_for_others_and_leave_in_batches() {
    let collector = Collector::answering(|_| Some((200, &[], b"")));
    let (exporter, _lifecycle) = exporter(&collector);
    let begin = Instant::now();
    export(&exporter, 3);
    until(|| figures(&exporter) == [3, 0, 0]).await;
    assert!(begin.elapsed() >= DELAY && collector.count() == 1);
    export(&exporter, BATCH + 1);
    until(|| figures(&exporter)[0] == 3 + BATCH as u64 + 1).await;
    assert_eq!(collector.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_away_is_asked_again_less_and_less_often() {
    let collector = Collector::answering(|nth| if nth < 3 { None } else { Some((200, &[], b"")) });
    let (exporter, _lifecycle) = exporter(&collector);
    export(&exporter, 1);
    until(|| figures(&exporter) == [1, 0, 0]).await;
    let pauses = collector.pauses();
    assert!(matches!(pauses.as_slice(), [1, 2..=3, 4..=6]), "{pauses:?}");
    // All of them are the same spans.
    let requests = collector.requests.lock().unwrap();
    assert!(requests.iter().all(|(_, body)| *body == requests[0].1));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_given_up_after_some_attempts_and_never_without_end() {
    for answer in [(|_| Some((503, &[] as _, b"" as _))) as Answer, |_| Some((0, &[], b""))] {
        let collector = Collector::answering(answer);
        let (exporter, _lifecycle) = exporter(&collector);
        export(&exporter, 2);
        until(|| figures(&exporter) == [0, 0, 2]).await;
        assert_eq!(collector.count(), ATTEMPTS as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_collector_says_when_to_come_again() {
    let collector = Collector::answering(|nth| match nth {
        0 => Some((429, &[("retry-after", "17")], b"")),
        1 => Some((503, &[("retry-after", "86400")], b"")),
        2 => Some((429, &[("retry-after", "soon")], b"")),
        _ => Some((200, &[], b"")),
    });
    let (exporter, _lifecycle) = exporter(&collector);
    export(&exporter, 1);
    until(|| figures(&exporter) == [1, 0, 0]).await;
    let pauses = collector.pauses();
    assert!(matches!(pauses.as_slice(), [17, 30, 4..=6]), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_collector_does_not_take_is_not_sent_again() {
    for status in [400, 401, 404, 413, 500, 301] {
        let answers: Answer = match status {
            400 => |_| Some((400, &[], b"")),
            401 => |_| Some((401, &[], b"")),
            404 => |_| Some((404, &[], b"")),
            413 => |_| Some((413, &[], b"")),
            500 => |_| Some((500, &[], b"")),
            _ => |_| Some((301, &[], b"")),
        };
        let collector = Collector::answering(answers);
        let (exporter, _lifecycle) = exporter(&collector);
        export(&exporter, 1);
        until(|| figures(&exporter) == [0, 0, 1]).await;
        assert_eq!(collector.count(), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_success_is_counted_and_garbage_is_a_success() {
    // `partial_success { rejected_spans: 1, error_message: "no" }`
    let collector = Collector::answering(|nth| match nth {
        0 => Some((200, &[], b"\x0a\x06\x08\x01\x12\x02no")),
        _ => Some((200, &[], b"\xff\xff<html>")),
    });
    let (exporter, _lifecycle) = exporter(&collector);
    export(&exporter, 3);
    until(|| figures(&exporter) == [2, 0, 1]).await;
    export(&exporter, 1);
    until(|| figures(&exporter) == [3, 0, 1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_spans_and_counts_them() {
    let collector = Collector::answering(|_| Some((0, &[], b"")));
    let (exporter, _lifecycle) = exporter(&collector);
    export(&exporter, 3 * QUEUE);
    assert_eq!(figures(&exporter), [0, 2 * QUEUE as u64, 0]);
    until(|| collector.count() == 1).await;
    export(&exporter, QUEUE);
    assert_eq!(figures(&exporter)[1], (3 * QUEUE - BATCH) as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_stack_sends_what_waits() {
    let collector = Collector::answering(|_| Some((200, &[], b"")));
    let (exporter, lifecycle) = exporter(&collector);
    export(&exporter, BATCH + 1);
    tokio::task::spawn_blocking(move || lifecycle.shutdown()).await.unwrap();
    assert_eq!((figures(&exporter), collector.count()), ([BATCH as u64 + 1, 0, 0], 2));
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_silent_keeps_the_end_for_a_bounded_time() {
    let collector = Collector::answering(|_| Some((0, &[], b"")));
    let requests = Arc::clone(&collector.requests);
    let (sender, queue) = channel(QUEUE);
    let closing = CancellationToken::new();
    let options: TracesOptions = serde_json::from_str(r#"{ "to": "http://collector" }"#).unwrap();
    let worker = Worker {
        service: String::new(),
        delivery: options.delivery(collector.client),
        figures: Arc::default(),
        closing: closing.clone(),
        failures: Summary::default(),
        in_flight: AtomicU64::new(0),
    };
    export(&Exporter { spans: sender, figures: Arc::default() }, QUEUE);
    closing.cancel();
    let begin = Instant::now();
    let figures = Arc::clone(&worker.figures);
    worker.run(queue).await;
    assert!(begin.elapsed() == FLUSH && requests.lock().unwrap().len() == 1, "{:?}", begin.elapsed());
    assert_eq!(figures.failed.get(), QUEUE as u64);
}
