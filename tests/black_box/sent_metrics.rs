//! `server.metrics`: the figures of the app `metrics` at a collector. They are decoded by the messages of OpenTelemetry's Python SDK.

use serde_json::Value;

use crate::collector::Collector;
use crate::support::Program;

#[test]
fn a_collector_gets_the_figures_that_the_app_shows() {
    let collector = Collector::new();
    let file = format!(
        r#"{{ "listen": "127.0.0.1:0",
            "server": {{ "metrics": {{ "to": "http://{}", "every": "1h", "service": "shop", "compression": "gzip", "headers": {{ "x-token": "s3cr3t" }} }} }},
            "app": {{ "routes": [{{ "match": {{ "path": "/metrics" }}, "app": {{ "metrics": {{}} }} }}, {{ "app": {{ "respond": {{ "body": "hello" }} }} }}] }} }}"#,
        collector.address
    );
    let mut program = Program::start(&file, &[]);
    (0..3).for_each(|_| assert!(program.get("/").ends_with("hello")));
    let shown = program.get("/metrics");
    // The end of the server sends the last figures.
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    let sent = collector.metrics();
    let named = |name: &str, place: &str| -> &Value {
        let is = |metric: &&Value| metric["name"] == name && (place.is_empty() || metric["attributes"]["place"] == place);
        sent.iter().find(is).unwrap_or_else(|| panic!("{name}: {sent:#?}"))
    };
    let requests = named("ziggurat_http_requests", "default/respond");
    assert_eq!((&requests["kind"], &requests["value"], &requests["service"]), (&"sum".into(), &3.0.into(), &"shop".into()));
    assert_eq!(requests["attributes"]["status"], "2xx");
    let durations = named("ziggurat_http_request_duration_seconds", "default/respond");
    assert_eq!((&durations["kind"], &durations["unit"], &durations["count"]), (&"histogram".into(), &"s".into(), &3.into()));
    assert_eq!(named("ziggurat_http_requests_in_progress", "")["kind"], "gauge");
    // Every family that the app shows is sent.
    let families = shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for family in families {
        named(family.trim_end_matches("_total"), "");
    }
    let head = collector.heads().concat().to_ascii_lowercase();
    assert!(head.starts_with("post /v1/metrics http/1.1\r\n") && head.contains("x-token: s3cr3t\r\n"), "{head}");
}

#[test]
fn a_collector_that_comes_back_gets_what_it_has_missed() {
    let mut collector = Collector::new();
    collector.leave();
    let file = format!(
        r#"{{ "listen": "127.0.0.1:0", "server": {{ "metrics": {{ "to": "http://{}", "every": "1s" }} }}, "app": {{ "respond": {{ "body": "hello" }} }} }}"#,
        collector.address
    );
    let mut program = Program::start(&file, &[]);
    assert!(program.get("/").ends_with("hello"));
    program.wait_for_log("metrics were not sent");
    collector.come_back();
    let counted = |sent: &[Value]| sent.iter().any(|metric| metric["name"] == "ziggurat_http_requests" && metric["value"] == 1.0);
    let until = std::time::Instant::now() + crate::support::PATIENCE;
    while !counted(&collector.metrics()) {
        assert!(std::time::Instant::now() < until, "{:#?}", collector.metrics());
    }
}
