//! What the log says about requests.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tempfile::TempDir;

use super::*;
use crate::Body;
use crate::cache::Cache;
use crate::timing::AppPart;
use crate::{BoxError, ConnectionInfo, Mount, RemoteUser, RequestSummary, TestStack, TestStage, request};

/// A log in a folder of its own.
struct Logged {
    folder: TempDir,
    options: String,
}

impl Logged {
    fn new(format: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = serde_json::json!({ "format": format, "to": folder.path().join("log") }).to_string();
        Self { folder, options }
    }

    fn stage(&self) -> TestStage {
        TestStack::of::<AccessLog>(&self.options)
    }

    /// Everything logged, after the end.
    fn text(&self, stack: &TestStack) -> String {
        stack.lifecycle().shutdown();
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn json(&self, stack: &TestStack) -> serde_json::Value {
        serde_json::from_str(&self.text(stack)).unwrap()
    }
}

fn chunks(chunks: Vec<Result<&'static str, &'static str>>) -> Body {
    let frames = chunks.into_iter().map(|chunk| match chunk {
        Ok(text) => Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
        Err(error) => Err(BoxError::from(error)),
    });
    Body::new(StreamBody::new(stream::iter(frames)))
}

#[tokio::test]
async fn the_combined_format_is_that_of_apache() {
    let log = Logged::new("combined");
    let stack = log.stage().over_text("hello");
    let mut request = request(Method::GET, "/a%20b?c=d", "");
    request.headers_mut().insert("referer", HeaderValue::from_static("https://a.test/"));
    request.headers_mut().insert("user-agent", HeaderValue::from_static("curl/8"));
    stack.send(request).await;
    stack.get("/").await;
    let text = log.text(&stack);
    let (first, second) = text.split_once('\n').unwrap();
    let (head, rest) = first.split_once('[').unwrap();
    let (time, rest) = rest.split_once(']').unwrap();
    assert_eq!(head, "192.0.2.1 - - ");
    assert_eq!((time.len(), &time[20..]), (26, " +0000"));
    assert_eq!(rest, r#" "GET /a%20b?c=d HTTP/1.1" 200 5 "https://a.test/" "curl/8""#);
    assert!(second.ends_with("\"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n"), "{second}");
}

/// The log of a WebSocket that ends with the code 1001.
async fn after_a_websocket(format: &str) -> String {
    let log = Logged::new(format);
    let record = crate::TunnelRecord::default();
    let kept = record.clone();
    let stack = log.stage().over(move |_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.extensions_mut().insert(kept.clone());
        std::future::ready(response)
    });
    let response = stack.call(request(Method::GET, "/", "")).await;
    record.received().add(7);
    record.sent().add(1234);
    record.note_close(1001);
    drop(response);
    log.text(&stack)
}

#[tokio::test]
async fn the_line_of_an_upgraded_connection_has_its_octets_in_both_directions_and_the_close_code() {
    let line: serde_json::Value = serde_json::from_str(&after_a_websocket("json").await).unwrap();
    let fields = ["status", "received", "bytes", "close_code"].map(|field| line[field].clone());
    assert_eq!(fields, [101, 7, 1234, 1001].map(serde_json::Value::from));
    assert_eq!(after_a_websocket("%(s)s %(B)s %({ziggurat.received}e)s %({ziggurat.close_code}e)s").await, "101 1234 7 1001\n");
    let log = Logged::new("%({ziggurat.received}e)s %({ziggurat.close_code}e)s");
    let stack = log.stage().over_text("ok");
    stack.get("/").await;
    assert_eq!(log.text(&stack), "- -\n");
}

#[tokio::test]
async fn json_has_the_promised_fields() {
    let log = Logged::new("json");
    let stack = log.stage().over(async |_| {
        let mut response = Response::new(chunks(vec![Ok("hello"), Ok(" "), Ok("you")]));
        *response.status_mut() = StatusCode::CREATED;
        response.extensions_mut().insert(RemoteUser { user: "ann".into(), auth_type: "Basic".into() });
        response
    });
    let mut request = request(Method::POST, "/path?query", "");
    request.headers_mut().insert("user-agent", HeaderValue::from_static("curl/8"));
    request.extensions_mut().insert(crate::RequestId::new(HeaderValue::from_static("id-1")).unwrap());
    stack.send(request).await;
    let mut line = log.json(&stack);
    let fields: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields.join(" "),
        "time client user method scheme host path query protocol status bytes duration_ms complete user_agent request_id"
    );
    let (time, duration) = (line["time"].take(), line["duration_ms"].take());
    assert!(time.as_str().unwrap().ends_with('Z') && duration.is_f64(), "{time} {duration}");
    assert_eq!(
        line,
        serde_json::json!({
            "time": null, "client": "192.0.2.1", "user": "ann", "method": "POST", "scheme": "http", "host": "test", "path": "/path", "query": "query",
            "protocol": "HTTP/1.1", "status": 201, "bytes": 9, "duration_ms": null, "complete": true, "user_agent": "curl/8", "request_id": "id-1"
        })
    );
}

#[tokio::test]
async fn every_atom_is_written() {
    let log = Logged::new(
        "%(h)s %(l)s %(u)s %(m)s %(U)s %(q)s %(H)s %(s)s %(B)s %(b)s %(f)s %(a)s %(T)s %(p)s %({x-in}i)s %({x-out}o)s %({x-none}o)s \
         %({REMOTE_ADDR}e)s %({REMOTE_PORT}e)s %({REMOTE_USER}e)s %({AUTH_TYPE}e)s %({REQUEST_URI}e)s %({wsgi.url_scheme}e)s %({HTTP_X_IN}e)s \
         %({ziggurat.request_id}e)s %%",
    );
    let stack = log.stage().over(async |_| {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("x-out", HeaderValue::from_static("out"));
        response
    });
    let mut request = request(Method::GET, "/p?q=1", "");
    request.headers_mut().insert("x-in", HeaderValue::from_static("in"));
    request.extensions_mut().insert(RemoteUser { user: "ann".into(), auth_type: "Basic".into() });
    stack.send(request).await;
    let process = std::process::id();
    assert_eq!(
        log.text(&stack),
        format!("192.0.2.1 - ann GET /p q=1 HTTP/1.1 200 0 - - - 0 <{process}> in out - 192.0.2.1 40000 ann Basic /p?q=1 http in - %\n")
    );
}

#[tokio::test(start_paused = true)]
async fn durations_are_written_in_four_units() {
    let log = Logged::new("%(T)s %(M)s %(D)s %(L)s");
    let stack = log.stage().over_text("");
    stack.get("/").await;
    let text = log.text(&stack);
    let parts: Vec<f64> = text.split_whitespace().map(|part| part.parse().unwrap()).collect();
    assert!(parts[0] < 60.0 && parts[1] >= parts[0] && parts[2] >= parts[1] && parts[3] < 60.0, "{text}");
    assert_eq!(text.trim().rsplit_once('.').unwrap().1.len(), 6);
}

#[tokio::test]
async fn a_client_cannot_forge_a_line() {
    let hostile = b"\" 200 -\\\x9b31m\xff\xc3\xa9\t<script>";
    let (combined, json) = (Logged::new("combined"), Logged::new("json"));
    for log in [&combined, &json] {
        let stack = log.stage().over_text("");
        let mut request = request(Method::from_bytes(b"!#$%&'*").unwrap(), "/", "");
        request.headers_mut().insert("user-agent", HeaderValue::from_bytes(hostile).unwrap());
        request.headers_mut().insert("host", HeaderValue::from_bytes(hostile).unwrap());
        *request.uri_mut() = "/\u{e9}\"?\u{202e}".parse().unwrap();
        stack.send(request).await;
        let text = log.text(&stack);
        assert_eq!(text.lines().count(), 1);
        assert!(text.trim_end().bytes().all(|octet| matches!(octet, b' '..=b'~')), "{text}");
    }
    let text = fs::read_to_string(combined.folder.path().join("log")).unwrap();
    assert!(
        text.contains(r#""!#$%&'* /\xC3\xA9\x22?\xE2\x80\xAE HTTP/1.1" 200 - "-" "\x22 200 -\x5C\x9B31m\xFF\xC3\xA9\x09<script>""#),
        "{text}"
    );
    let line: serde_json::Value = serde_json::from_slice(&fs::read(json.folder.path().join("log")).unwrap()).unwrap();
    assert_eq!(line["path"], "/\u{e9}\"");
    assert_eq!(line["user_agent"], String::from_utf8_lossy(hostile).into_owned());
}

#[tokio::test]
async fn a_response_that_was_cut_short_says_so() {
    for (body, read, sent, complete) in [
        (vec![Ok("one"), Ok("two")], 3, 6, true),
        (vec![Ok("one"), Ok("two")], 1, 3, false),
        (vec![Ok("one"), Ok("two")], 0, 0, false),
        (vec![Ok("one"), Err("cut")], 3, 3, false),
    ] {
        let log = Logged::new("json");
        let stack = log.stage().over(move |_| {
            let body = body.clone();
            async { Response::new(chunks(body)) }
        });
        let mut response = stack.call(request(Method::GET, "/", "")).await;
        for _ in 0..read {
            if response.body_mut().frame().await.is_none_or(|frame| frame.is_err()) {
                break;
            }
        }
        drop(response);
        let line = log.json(&stack);
        assert_eq!((line["bytes"].as_u64(), line["complete"].as_bool()), (Some(sent), Some(complete)), "{line}");
    }
}

#[tokio::test]
async fn a_long_page_of_the_cache_that_was_cut_short_says_so() {
    let log = Logged::new("json");
    let stack = log.stage().then::<Cache>("{}").over(async |_| {
        let mut response = Response::new(Body::from("x".repeat(1_000_000)));
        response.headers_mut().insert("cache-control", HeaderValue::from_static("max-age=60"));
        response
    });
    stack.get("/").await;
    let mut response = stack.call(request(Method::GET, "/", "")).await;
    assert!(response.headers()["cache-status"].to_str().unwrap().contains("hit"));
    let part = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap().len();
    drop(response);
    let text = log.text(&stack);
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = lines.iter().map(|line| (line["bytes"].as_u64().unwrap(), line["complete"].as_bool().unwrap()));
    assert!(part < 1_000_000);
    assert_eq!(said.collect::<Vec<_>>(), [(1_000_000, true), (part as u64, false)]);
}

#[tokio::test]
async fn a_body_of_known_length_is_complete_without_being_asked_for_its_end() {
    let log = Logged::new("json");
    let stack = log.stage().over(async |_| {
        let mut response = Response::new(chunks(vec![Ok("one"), Ok("two")]));
        response.headers_mut().insert("content-length", HeaderValue::from_static("6"));
        response
    });
    let mut response = stack.call(request(Method::GET, "/", "")).await;
    for _ in 0..2 {
        response.body_mut().frame().await.unwrap().unwrap();
    }
    drop(response);
    assert_eq!(log.json(&stack)["complete"], true);
}

#[tokio::test]
async fn a_response_without_a_body_is_complete() {
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 304), (Method::GET, 204)] {
        let log = Logged::new("json");
        let stack = log.stage().over(move |_| async move {
            let mut response = Response::new(Body::from("never sent"));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        });
        drop(stack.call(request(method, "/", "")).await);
        let line = log.json(&stack);
        assert_eq!((line["bytes"].as_u64(), line["complete"].as_bool()), (Some(0), Some(true)), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_response_is_logged_with_499() {
    let log = Logged::new("json");
    let stack = log.stage().over(|_| std::future::pending());
    let left = tokio::time::timeout(Duration::from_secs(1), stack.call(request(Method::GET, "/", ""))).await;
    assert!(left.is_err());
    let line = log.json(&stack);
    assert_eq!((line["status"].as_u64(), line["complete"].as_bool()), (Some(499), Some(false)));
}

#[tokio::test]
async fn an_app_that_panics_is_logged_with_500() {
    let log = Logged::new("%(s)s");
    let stack = log.stage().over(async |_| panic!("no"));
    stack.get("/").await;
    assert_eq!(log.text(&stack), "500\n");
}

#[tokio::test]
async fn under_a_mount_the_whole_target_is_logged_and_a_unix_client_is_a_dash() {
    let log = Logged::new("%(h)s %(r)s");
    let stack = log.stage().over_text("");
    let mut request = request(Method::GET, "/page", "");
    request.extensions_mut().insert(Mount { prefix: "/blog".into(), target: "/blog/page?x".parse().unwrap() });
    request.extensions_mut().get_mut::<ConnectionInfo>().unwrap().client = None;
    stack.send(request).await;
    assert_eq!(log.text(&stack), "- GET /blog/page?x HTTP/1.1\n");
}

#[tokio::test]
async fn a_rotated_file_is_opened_again() {
    let log = Logged::new("%(U)s");
    let stack = log.stage().over_text("");
    let (path, old) = (log.folder.path().join("log"), log.folder.path().join("log.1"));
    stack.get("/before").await;
    fs::rename(&path, &old).unwrap();
    stack.lifecycle().reopen();
    while !path.exists() {
        tokio::task::yield_now().await;
    }
    stack.get("/after").await;
    assert_eq!(log.text(&stack), "/after\n");
    assert_eq!(fs::read_to_string(old).unwrap(), "/before\n");
}

#[test]
fn a_format_or_file_that_cannot_be_is_refused() {
    assert!(TestStack::refusal::<AccessLog>(r#""%(x)s""#)[0].contains("unknown atom `%(x)s`"));
    assert!(TestStack::refusal::<AccessLog>(r#""logs/access.log""#)[0].contains("a file is named by `to`"));
    assert!(TestStack::refusal::<AccessLog>(r#"{"to": "/nowhere/log"}"#)[0].contains("cannot write the access log to `/nowhere/log`"));
}

#[tokio::test]
async fn the_log_learns_the_client_and_the_id_from_layers_below() {
    let log = Logged::new("json");
    let layers = log.stage().then::<crate::forwarded::Forwarded>(r#""192.0.2.1""#).then::<crate::request_id::AssignRequestId>("{}");
    let stack = layers.over_text("x");
    let mut request = request(Method::GET, "/", "");
    request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("203.0.113.7"));
    let response = stack.send(request).await;
    let line = log.json(&stack);
    assert_eq!((&line["client"], &line["request_id"]), (&"203.0.113.7".into(), &response.header("x-request-id").into()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_timeout_above_has_answered_is_logged_with_its_status() {
    let log = Logged::new("json");
    let layers = TestStack::of::<crate::timeout::Timeout>(r#""1s""#).then::<AccessLog>(&log.options);
    let stack = layers.over(async |_: Request| std::future::pending::<Response>().await);
    assert_eq!(stack.get("/").await.status(), 504);
    assert_eq!(log.json(&stack)["status"], 504);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_the_one_behind_the_proxy_if_the_request_came_so_far() {
    let log = Logged::new("json");
    let layers = log.stage().then::<crate::forwarded::Forwarded>(r#""192.0.2.1""#).then::<crate::request_id::AssignRequestId>("{}");
    let stack = layers.over(|_| std::future::pending());
    let mut request = request(Method::GET, "/", "");
    request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("203.0.113.7"));
    assert!(tokio::time::timeout(Duration::from_secs(1), stack.call(request)).await.is_err());
    let line = log.json(&stack);
    assert_eq!((line["status"].as_u64(), &line["client"]), (Some(499), &"203.0.113.7".into()));
    assert!(line["request_id"].is_string(), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_timed_stack_shows_where_the_time_has_gone() {
    let over = |log: &Logged| {
        log.stage().timed().then::<crate::request_id::AssignRequestId>("{}").over(async |request| {
            let clock = RequestSummary::of(request.extensions()).unwrap().clock().unwrap().clone();
            let queued = clock.measure(AppPart::Queue);
            tokio::time::sleep(Duration::from_millis(250)).await;
            drop(queued);
            tokio::time::sleep(Duration::from_millis(1500)).await;
            Response::new(Body::from("text"))
        })
    };
    let log = Logged::new("%(queue)s %(python)s %(app)s %({app}t)s %({request_id}t)s %({unknown}t)s");
    let stack = over(&log);
    stack.get("/").await;
    assert_eq!(log.text(&stack), "0.250000 - 1.500000 1.750000 0.000000 -\n");

    let mut log = Logged::new("json");
    log.options.insert_str(1, r#""times": true, "#);
    let stack = over(&log);
    stack.get("/").await;
    let line = log.json(&stack);
    assert_eq!((&line["queue_ms"], &line["app_ms"], line.get("python_ms")), (&250.0.into(), &1500.0.into(), None));
    assert_eq!(line["times_ms"], serde_json::json!({ "access_log": 0.0, "request_id": 0.0, "app": 1750.0 }));
}

#[test]
fn times_that_are_not_measured_are_refused() {
    for options in [r#"{"format": "%(queue)s"}"#, r#"{"format": "%({main}t)s"}"#, r#"{"format": "json", "times": true}"#] {
        assert!(TestStack::refusal::<AccessLog>(options)[0].contains("not measured"), "{options}");
    }
    assert!(TestStack::refusal::<AccessLog>(r#"{"times": true}"#)[0].contains("only lines of `json`"));
}
