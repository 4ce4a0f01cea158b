//! Collectors that are away or slow.

use std::path::Path;
use std::sync::Mutex;

use http::Extensions;
use http_body_util::BodyExt;
use tower::service_fn;
use ziggurat_middleware::{Body, BoxError, Lifecycle, Request, Response};

use super::*;

/// The length of each request, and when it came.
type Seen = Arc<Mutex<Vec<(Instant, usize)>>>;

/// A stack that sends its metrics every 10 seconds to a collector: `None` is a connection that is refused, and the status 0 is no response.
fn sending(answer: fn(usize) -> Option<u16>) -> (Lifecycle, Seen) {
    let seen = Seen::default();
    let requests = Arc::clone(&seen);
    let client = Client::new(service_fn(move |request: Request| {
        let seen = Arc::clone(&requests);
        async move {
            assert_eq!(request.uri(), "http://collector/v1/metrics");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let nth = seen.lock().unwrap().len();
            seen.lock().unwrap().push((Instant::now(), body.len()));
            let Some(status) = answer(nth) else { return Err(BoxError::from("refused")) };
            if status == 0 {
                std::future::pending::<()>().await;
            }
            let mut response = Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            Ok(response)
        }
    }));
    let mut host = Extensions::new();
    host.insert(client);
    let lifecycle = Lifecycle::hosted(host);
    let options: MetricsOptions = serde_json::from_str(r#"{ "to": "http://collector", "every": "10s" }"#).unwrap();
    export(&options, &Context::new("metrics", Path::new(""), lifecycle.clone()));
    (lifecycle, seen)
}

/// Sent and failed, as the metrics show it.
fn outcomes(lifecycle: &Lifecycle) -> (String, String) {
    let text = lifecycle.scrape().to_string();
    let of = |outcome: &str| {
        let name = format!("ziggurat_metrics_exports_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned()
    };
    (of("sent"), of("failed"))
}

async fn until(seen: &Seen, count: usize) -> Vec<u64> {
    let begin = Instant::now();
    while seen.lock().unwrap().len() < count {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Lets the last response arrive.
    tokio::time::sleep(Duration::from_millis(100)).await;
    seen.lock().unwrap().iter().map(|(at, _)| (*at - begin).as_secs()).collect()
}

#[tokio::test(start_paused = true)]
async fn figures_are_sent_once_in_each_interval_whatever_becomes_of_them() {
    let (lifecycle, seen) = sending(|nth| match nth {
        0 => None,
        1 => Some(503),
        _ => Some(200),
    });
    assert_eq!(until(&seen, 4).await, [10, 20, 30, 40]);
    assert_eq!(outcomes(&lifecycle), ("2".to_owned(), "2".to_owned()));
    assert!(seen.lock().unwrap().iter().all(|(_, length)| *length > 0));
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_silent_is_asked_less_often_and_nothing_waits_for_it() {
    let (lifecycle, seen) = sending(|nth| if nth == 0 { Some(0) } else { Some(200) });
    let times = until(&seen, 2).await;
    assert!(matches!(times.as_slice(), [10, 20..=30]), "{times:?}");
    assert_eq!(outcomes(&lifecycle), ("1".to_owned(), "1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_stack_sends_the_last_figures() {
    let (lifecycle, seen) = sending(|_| Some(200));
    let ended = lifecycle.clone();
    tokio::task::spawn_blocking(move || ended.shutdown()).await.unwrap();
    assert_eq!((seen.lock().unwrap().len(), outcomes(&lifecycle).0), (1, "1".to_owned()));
}

#[test]
fn a_time_of_less_than_a_second_is_refused() {
    let found = |every: &str| {
        let options: MetricsOptions = serde_json::from_value(serde_json::json!({ "to": "http://a", "every": every })).unwrap();
        let mut findings = ziggurat_middleware::Findings::default();
        options.validate(&mut findings);
        findings.is_empty()
    };
    assert!(found("1s") && !found("999ms") && !found("0s"));
}
