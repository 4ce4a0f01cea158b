//! `server.traces`: spans at a collector, and W3C Trace Context in and out. The spans are decoded by the messages of OpenTelemetry's Python SDK.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::collector::Collector;
use crate::support::{Program, command, folder_of};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(crate) fn site(collector: &Collector, traces: &str, rest: &str) -> String {
    format!(
        r#"{{ "listen": "127.0.0.1:0", "server": {{ "drain": "1s", "traces": {{ "to": "http://{}"{traces} }} }}, {rest} }}"#,
        collector.address
    )
}

/// The body of a response to GET with these headers.
pub(crate) fn get(program: &Program, target: &str, headers: &str) -> String {
    let answer = program.exchange(format!("GET {target} HTTP/1.0\r\nHost: shop.test\r\n{headers}\r\n"));
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}")).1.to_owned()
}

pub(crate) fn stop(mut program: Program) -> String {
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    program.log()
}

pub(crate) fn of<'a>(spans: &'a [Value], service: &str, kind: u64) -> &'a Value {
    spans.iter().find(|span| span["service"] == service && span["kind"] == kind).unwrap_or_else(|| panic!("{spans:#?}"))
}

pub(crate) const SERVER: u64 = 2;
const CLIENT: u64 = 3;
pub(crate) const ERROR: u64 = 2;

#[test]
fn a_request_is_a_span_at_the_collector() {
    let collector = Collector::new();
    let mut program = Program::start(
        &site(
            &collector,
            r#", "service": "shop", "headers": { "x-token": "s3cr3t" }"#,
            r#""layers": ["request_id", { "access_log": { "format": "json", "to": "access.log" } }], "app": { "respond": { "status": 503, "body": "closed" } }"#,
        ),
        &[],
    );
    assert_eq!(get(&program, "/cart?card=4111", &format!("traceparent: {PARENT}\r\n")), "closed");
    // The end of the server sends what waits.
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    let log = std::fs::read_to_string(program.folder().join("access.log")).unwrap();
    let spans = collector.wait_for("the span", |spans| !spans.is_empty());
    let [span] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!(
        (&span["service"], &span["name"], &span["kind"], &span["status"]),
        (&"shop".into(), &"GET".into(), &SERVER.into(), &ERROR.into())
    );
    let attributes = &span["attributes"];
    for (name, value) in [
        ("http.request.method", Value::from("GET")),
        ("url.path", "/cart".into()),
        ("url.scheme", "http".into()),
        ("server.address", "shop.test".into()),
        ("client.address", "127.0.0.1".into()),
        ("http.response.status_code", 503.into()),
        ("error.type", "503".into()),
        ("ziggurat.place", "respond".into()),
    ] {
        assert_eq!(attributes[name], value, "{name}: {span:#}");
    }
    // A stranger's trace does not go on here, and no query leaves the server.
    assert!(span["parent"] == "" && span["trace"] != "4bf92f3577b34da6a3ce929d0e0e4736" && !span.to_string().contains("4111"), "{span:#}");
    let line: Value = serde_json::from_str(&log).unwrap();
    assert_eq!((&line["trace_id"], &line["request_id"]), (&span["trace"], &attributes["ziggurat.request_id"]));
    let head = &collector.heads()[0];
    assert!(
        head.starts_with("POST /v1/traces HTTP/1.1\r\n") && head.contains("x-token: s3cr3t\r\n") && head.contains("application/x-protobuf"),
        "{head}"
    );
}

#[test]
fn a_span_is_named_by_the_patterns_of_the_routes_that_the_request_takes() {
    let collector = Collector::new();
    let routes = r#""apps": { "shop": { "routes": [
        { "match": { "path": ["/carts/{id}", "/orders/{id}"] }, "app": { "respond": 204 } },
        { "match": { "path": { "regex": "/v[0-9]+" } }, "app": { "respond": 204 } },
        { "match": { "method": "GET" }, "app": { "respond": 204 } }
    ] } }, "app": { "routes": [
        { "match": { "path": "/about" }, "app": { "respond": 204 } },
        { "mount": "/shop", "layers": ["compress"], "app": "shop" },
        { "match": { "host": "shop.test" }, "app": { "respond": 204 } }
    ] }"#;
    let program = Program::start(&site(&collector, r#", "layers": true"#, routes), &[]);
    let paths = [
        ("/about", Some("/about")),
        ("/shop/orders/s3cr3t", Some("/shop/orders/{id}")),
        ("/sh%6fp/v2", Some("/shop/*")),
        ("/shop/x", Some("/shop/*")),
        ("/x", None),
    ];
    paths.iter().for_each(|(path, _)| assert_eq!(get(&program, path, ""), ""));
    stop(program);
    let spans = collector.wait_for("the spans", |spans| spans.iter().filter(|span| span["kind"] == SERVER).count() == paths.len());
    for (path, route) in paths {
        let span = spans.iter().find(|span| span["kind"] == SERVER && span["attributes"]["url.path"] == path).unwrap();
        assert_eq!(span["attributes"]["http.route"].as_str(), route, "{span:#}");
        assert_eq!(span["name"], route.map_or("GET".to_owned(), |route| format!("GET {route}")));
    }
}

/// An app that the instrumentation of OpenTelemetry traces.
const INSTRUMENTED: &str = r#"
import os
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = TracerProvider(resource=Resource({"service.name": "python"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=os.environ["COLLECTOR"] + "/v1/traces")))
trace.set_tracer_provider(provider)

def hello(environ, start_response):
    start_response("200 OK", [])
    return [environ["HTTP_TRACEPARENT"].encode()]

app = OpenTelemetryMiddleware(hello)
"#;

#[test]
fn the_spans_of_an_instrumented_app_hang_below_that_of_its_request() {
    let collector = Collector::new();
    let wsgi = format!(
        r#""app": {{ "wsgi": {{ "app": "traced:app", "workers": 1, "env": {{ "COLLECTOR": "http://{}" }} }} }}"#,
        collector.address
    );
    let program = Program::start(&site(&collector, r#", "trust": "127.0.0.1", "sample": "0%""#, &wsgi), &[("traced.py", INSTRUMENTED)]);
    let seen = get(&program, "/", &format!("traceparent: {PARENT}\r\ntracestate: a=1\r\n"));
    // Of a trace that is not recorded, neither records anything.
    let unsampled = get(&program, "/", "");
    assert!(unsampled.ends_with("-00"), "{unsampled}");
    stop(program);
    let spans = collector.wait_for("both spans", |spans| spans.len() >= 2);
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let (ours, python) = (of(&spans, "ziggurat", SERVER), of(&spans, "python", SERVER));
    assert_eq!(seen, format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", ours["id"].as_str().unwrap()));
    assert_eq!((&ours["parent"], &ours["state"]), (&"00f067aa0ba902b7".into(), &"a=1".into()));
    assert_eq!((&python["parent"], &python["trace"], &python["state"]), (&ours["id"], &ours["trace"], &"a=1".into()));
}

/// A Django site whose view the instrumentation of OpenTelemetry traces.
const DJANGO: &str = r#"
import os
from django.conf import settings

settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[])

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = TracerProvider(resource=Resource({"service.name": "django"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=os.environ["COLLECTOR"] + "/v1/traces")))
trace.set_tracer_provider(provider)
DjangoInstrumentor().instrument()
urlpatterns = [path("notes/<int:number>", lambda request, number: HttpResponse("hello"))]
app = get_wsgi_application()
"#;

#[test]
fn with_layers_the_spans_of_a_django_site_hang_below_that_of_its_app() {
    let collector = Collector::new();
    let wsgi = format!(
        r#""layers": ["request_id", "access_log"], "app": {{ "wsgi": {{ "app": "noted:app", "workers": 1, "env": {{ "COLLECTOR": "http://{}" }} }} }}"#,
        collector.address
    );
    let program = Program::start(&site(&collector, r#", "layers": true"#, &wsgi), &[("noted.py", DJANGO)]);
    assert_eq!(get(&program, "/notes/7", ""), "hello");
    stop(program);
    let spans = collector.wait_for("the span of each layer", |spans| spans.len() == 5);
    let mut above = of(&spans, "ziggurat", SERVER);
    for name in ["request_id", "access_log", "wsgi", "GET notes/<int:number>"] {
        let span = spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("{spans:#?}"));
        assert_eq!((&span["parent"], &span["trace"]), (&above["id"], &above["trace"]), "{name}: {spans:#?}");
        above = span;
    }
}

/// Serves one connection: reads until `end`, answers, and gives what it has read.
fn upstream(end: &'static str, answer: &'static [u8]) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(end) {
            let mut octets = [0; 4096];
            let count = stream.read(&mut octets).unwrap();
            assert!(count > 0);
            read.extend_from_slice(&octets[..count]);
        }
        stream.write_all(answer).unwrap();
        String::from_utf8_lossy(&read).into_owned()
    };
    (port, std::thread::spawn(serve))
}

#[test]
fn upstream_servers_see_the_span_of_the_attempt() {
    let collector = Collector::new();
    let (http, over_http) = upstream("\r\n\r\n", b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    let (scgi, over_scgi) = upstream("HTTP_TRACEPARENT\0", b"Status: 200 OK\r\n\r\nyes");
    let routes = format!(
        r#""app": {{ "routes": [{{ "match": {{ "path": "/scgi" }}, "app": {{ "scgi": "127.0.0.1:{scgi}" }} }}, {{ "app": {{ "proxy": "http://127.0.0.1:{http}" }} }}] }}"#
    );
    let program = Program::start(&site(&collector, "", &routes), &[]);
    assert_eq!(get(&program, "/http", &format!("traceparent: {PARENT}\r\n")), "no");
    assert_eq!(get(&program, "/scgi", ""), "yes");
    stop(program);
    let spans = collector.wait_for("four spans", |spans| spans.len() == 4);
    for (path, seen, status) in [("/http", over_http.join().unwrap(), 404), ("/scgi", over_scgi.join().unwrap(), 200)] {
        let request = spans.iter().find(|span| span["attributes"]["url.path"] == path).unwrap();
        let attempt = spans.iter().find(|span| span["kind"] == CLIENT && span["parent"] == request["id"]).unwrap();
        let expected = format!("00-{}-{}-01", request["trace"].as_str().unwrap(), attempt["id"].as_str().unwrap());
        assert!(seen.contains(&expected) && !seen.contains(PARENT), "{seen}");
        assert_eq!(attempt["attributes"]["http.response.status_code"], status);
        // What another server answers is no failure of this one.
        assert_eq!(request["status"], 0);
        assert_eq!(attempt["status"], if status == 404 { ERROR } else { 0 });
    }
}

const MEASURED: &str = r#""app": { "routes": [{ "match": { "path": "/metrics" }, "app": { "metrics": {} } }, { "app": { "respond": { "body": "hello" } } }] }"#;

/// Makes so many requests, in hundreds, and waits for their answers.
fn ask(program: &Program, count: usize) {
    let mut stream = program.connect();
    for _ in 0..count / 100 {
        stream.write_all(&b"GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100)).unwrap();
        let mut answers = Vec::new();
        while answers.windows(5).filter(|octets| octets == b"hello").count() < 100 {
            let mut octets = [0; 4096];
            let count = stream.read(&mut octets).unwrap();
            assert!(count > 0);
            answers.extend_from_slice(&octets[..count]);
        }
    }
}

/// How many spans found no room.
fn dropped(program: &Program) -> usize {
    let scraped = program.get("/metrics");
    let dropped = scraped.lines().find_map(|line| line.strip_prefix("ziggurat_spans_total{outcome=\"dropped\"} "));
    dropped.unwrap_or_else(|| panic!("{scraped}")).parse().unwrap()
}

#[test]
fn a_collector_that_was_away_gets_all_spans_that_the_queue_has_room_for() {
    for count in [600, 4000] {
        let mut collector = Collector::new();
        let program = Program::start(&site(&collector, r#", "compression": "gzip""#, MEASURED), &[]);
        ask(&program, 100);
        let here = |spans: &[Value]| spans.iter().filter(|span| span["attributes"]["url.path"] == "/").count();
        collector.wait_for("the first spans", |spans| here(spans) == 100);
        collector.leave();
        ask(&program, count);
        let dropped = dropped(&program);
        assert_eq!(dropped > 0, count > 2048 + 512, "{dropped}");
        collector.come_back();
        let all = 100 + count - dropped;
        let spans = collector.wait_for("the others", |spans| here(spans) >= all);
        // None comes twice.
        let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| span["id"].as_str()).collect();
        assert_eq!((here(&spans), ids.len()), (all, spans.len()));
        assert!(collector.heads().iter().all(|head| head.to_ascii_lowercase().contains("content-encoding: gzip\r\n")));
        stop(program);
    }
}

#[test]
fn a_collector_that_does_not_answer_delays_neither_requests_nor_the_end() {
    for answer in
        ["", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "garbage\r\n\r\n"]
    {
        let collector = Collector::answering(answer);
        let program = Program::start(&site(&collector, "", MEASURED), &[]);
        // More than the queue takes.
        ask(&program, 3000);
        assert_ne!(dropped(&program), 0);
        let log = stop(program);
        assert!(log.contains("spans were lost") && collector.requests() > 0, "{log}");
    }
}

#[test]
fn a_token_is_shown_as_it_is_written_and_mistakes_at_their_place() {
    let folder = folder_of(&[
        (
            "pipeline.json",
            r#"{ "server": { "traces": { "to": "https://collector", "headers": { "authorization": "Bearer ${TOKEN}" } } }, "app": { "respond": 204 } }"#,
        ),
        (
            "wrong.json",
            "{\n  \"server\": { \"traces\": { \"to\": \"collector:4318\", \"sample\": 5, \"layer\": true } },\n  \"app\": { \"respond\": 204 }\n}\n",
        ),
    ]);
    let run = |arguments: &[&str]| {
        let output = command(folder.path()).args(arguments).env("TOKEN", "s3cr3t").output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    for shown in [run(&["show"]), run(&["show", "--json"])] {
        assert!(shown.contains("${TOKEN}") && !shown.contains("s3cr3t"), "{shown}");
    }
    insta::assert_snapshot!(run(&["check", "wrong.json"]));
}
