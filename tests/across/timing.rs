//! Self times of Python layers and apps, on every executor.

use std::collections::BTreeMap;
use std::time::Instant;

use http::Method;
use ziggurat_middleware::metrics::SampleValue;
use ziggurat_middleware::{Body, Metrics, RequestSummary, request};

use crate::support::{EXECUTORS, Site};

/// The sums of a family of histograms in seconds, by place and by phase or part.
fn sums(metrics: &Metrics, name: &str) -> BTreeMap<(String, String), f64> {
    let family = metrics.families().iter().find(|family| family.name == name).unwrap();
    let samples = family.samples.iter().filter_map(|sample| match &sample.value {
        SampleValue::Distribution(distribution) => {
            assert!(distribution.count <= 1, "{:?} was counted {} times", sample.labels, distribution.count);
            Some(((sample.labels[0].1.clone(), sample.labels[1].1.clone()), distribution.sum))
        }
        SampleValue::Number(_) => None,
    });
    samples.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn python_layers_and_apps_have_their_own_time_of_requests_and_of_bodies() {
    for executor in EXECUTORS {
        let layers = r#"["headers", { "wsgi": "timed:Slow", "as": "slow" }, { "headers": {}, "as": "between" }, { "wsgi": "across:Through", "as": "through" }]"#;
        let site = Site::timed(layers, "timed:app", executor);
        let mut asked = request(Method::GET, "/", Body::empty());
        let summary = RequestSummary::new(asked.method(), asked.uri(), asked.extensions());
        asked.extensions_mut().insert(summary.clone());
        let begin = Instant::now();
        let answer = site.send(asked).await;
        let elapsed = begin.elapsed().as_secs_f64();
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 140_000), "with {executor:?}");
        let metrics = site.scrape();
        let times = sums(&metrics, "ziggurat_self_seconds");
        let time = |place: &str, phase: &str| times.get(&(place.to_owned(), phase.to_owned())).copied().unwrap_or_default();
        // What sleeps has at least that time, and nobody has the time of another one.
        for (place, least) in [("slow", 0.04 + 2.0 * 0.02), ("wsgi", 0.08 + 2.0 * 0.03)] {
            let sum = time(place, "request") + time(place, "body");
            assert!(sum >= least, "{place} has {sum} of {least} s with {executor:?}: {times:?}");
        }
        let sum: f64 = times.values().sum();
        assert!(sum <= elapsed, "{sum} of {elapsed} s with {executor:?}: {times:?}");
        for place in ["headers", "slow", "between", "through", "wsgi"] {
            assert!(time(place, "request") > 0.0, "{place} with {executor:?}: {times:?}");
        }
        let parts = sums(&metrics, "ziggurat_app_part_seconds");
        assert!(parts[&("wsgi".to_owned(), "python".to_owned())] >= 0.12, "with {executor:?}: {parts:?}");
        assert!(parts.contains_key(&("wsgi".to_owned(), "queue".to_owned())), "with {executor:?}: {parts:?}");
        let clock = summary.clock().unwrap();
        assert!(clock.self_times().iter().any(|time| time.place.as_str() == "slow"), "with {executor:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_without_layers_where_it_runs_has_its_parts_however_its_response_comes() {
    for executor in EXECUTORS {
        for (app, status) in [("app", 200), ("whole", 200), ("file", 200), ("failing", 500)] {
            let site = Site::timed(r#"["headers"]"#, &format!("timed:{app}"), executor);
            let mut asked = request(Method::GET, "/", Body::empty());
            let summary = RequestSummary::new(asked.method(), asked.uri(), asked.extensions());
            asked.extensions_mut().insert(summary.clone());
            let begin = Instant::now();
            assert_eq!(site.send(asked).await.status.as_u16(), status, "{app} with {executor:?}");
            let elapsed = begin.elapsed().as_secs_f64();
            let metrics = site.scrape();
            let parts = sums(&metrics, "ziggurat_app_part_seconds");
            let part = |part: &str| parts[&("wsgi".to_owned(), part.to_owned())];
            let own = sums(&metrics, "ziggurat_self_seconds")[&("wsgi".to_owned(), "request".to_owned())];
            assert!(part("python") >= 0.08 && part("python") + part("queue") <= own, "{app} with {executor:?}: {parts:?} of {own}");
            assert!(own <= elapsed, "{app} with {executor:?}: {own} of {elapsed}");
        }
    }
}
