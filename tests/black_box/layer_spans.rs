//! Spans of layers and apps where Python runs, which are measured there (`"layers": true` of `server.traces`).

use std::collections::BTreeMap;

use crate::collector::Collector;
use crate::support::Program;
use crate::traces::{ERROR, SERVER, get, of, site, stop};

/// An app, and a layer that passes its response on.
const LAYERED: &str = r#"
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def layer(app):
    return lambda environ, start_response: app(environ, start_response)

def lazy(app):
    def called(environ, start_response):
        yield from app(environ, start_response)
    return called
"#;

#[test]
fn with_layers_those_around_and_below_python_have_spans_wherever_python_runs() {
    for workers in [0, 1] {
        let collector = Collector::new();
        let stack = format!(
            r#""layers": ["request_id", {{ "wsgi": "layered:layer", "as": "outer" }}, {{ "headers": {{ "response": {{ "set": {{ "x-a": "b" }} }} }} }}, {{ "wsgi": "layered:lazy", "as": "lazy" }}],
                "app": {{ "wsgi": {{ "app": "layered:app", "workers": {workers} }}, "as": "app" }}"#
        );
        let program = Program::start(&site(&collector, r#", "layers": true"#, &stack), &[("layered.py", LAYERED)]);
        assert_eq!(get(&program, "/", ""), "hello");
        stop(program);
        let spans = collector.wait_for("the spans", |spans| spans.iter().any(|span| span["kind"] == SERVER));
        let mut above = of(&spans, "ziggurat", SERVER);
        // What is measured in a worker is below the app whose worker it is.
        for name in ["request_id", "app", "outer", "headers", "lazy"] {
            let [span] = spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>()[..] else {
                panic!("{workers} {name}: {spans:#?}")
            };
            assert_eq!((&span["parent"], &span["trace"]), (&above["id"], &above["trace"]), "{workers} {name}: {spans:#?}");
            above = span;
        }
        assert_eq!(spans.len(), 6, "{workers}: {spans:#?}");
    }
}

/// An app that fails, layers that pass its exception on and handle it, and one that only passes responses on.
const FAILING: &str = r#"
def app(environ, start_response):
    raise LookupError("s3cr3t")

def passing(app):
    return lambda environ, start_response: app(environ, start_response)

def handling(app):
    def called(environ, start_response):
        try:
            return app(environ, start_response)
        except LookupError:
            start_response("200 OK", [])
            return [b"handled"]
    return called
"#;

#[test]
fn what_fails_where_python_runs_has_a_span_that_says_so() {
    for workers in [0, 1] {
        let collector = Collector::new();
        let stack = format!(
            r#""app": {{ "routes": [
                {{ "match": {{ "path": "/python" }}, "layers": [{{ "wsgi": "failing:handling", "as": "handling" }}, {{ "wsgi": "failing:passing", "as": "passing" }}],
                    "app": {{ "wsgi": {{ "app": "failing:app", "workers": {workers} }}, "as": "app" }} }},
                {{ "layers": [{{ "wsgi": {{ "middleware": "failing:passing", "workers": {workers} }}, "as": "above" }}], "app": {{ "respond": {{ "status": 503, "body": "closed" }} }} }}
            ] }}"#
        );
        let program = Program::start(&site(&collector, r#", "layers": true"#, &stack), &[("failing.py", FAILING)]);
        assert_eq!((get(&program, "/python", ""), get(&program, "/native", "")), ("handled".to_owned(), "closed".to_owned()));
        stop(program);
        let spans = collector.wait_for("the spans", |spans| spans.iter().filter(|span| span["kind"] == SERVER).count() == 2);
        let failed: BTreeMap<_, _> = spans
            .iter()
            .filter(|span| span["kind"] != SERVER && span["status"] == ERROR)
            .map(|span| (span["name"].as_str().unwrap(), (span["attributes"]["error.type"].as_str(), span["message"].as_str())))
            .collect();
        let (exception, status) = ((Some("LookupError"), Some("LookupError")), (Some("503"), Some("")));
        let expected = [("app", exception), ("above", status), ("passing", exception), ("default/respond", status), ("routes", status)];
        assert_eq!(failed, expected.into(), "{workers}: {spans:#?}");
        assert!(!format!("{spans:?}").contains("s3cr3t"), "{workers}: {spans:#?}");
    }
}
