//! What RFC 9111, RFC 5861 and RFC 9211 ask for, as cases in `cases/*.txt`.
//!
//! | line | |
//! | --- | --- |
//! | `= SENTENCE` | begins a case |
//! | `options JSON` | the options of the layer |
//! | `app STATUS \| HEADER: VALUE \| ...` | what the app answers from now on; its body is `v` and the number of the call. `@delay` is in seconds, `@stream` is `yes`, `cut` or `trailers` |
//! | `then STATUS ...` | what it answers after that, once it has answered |
//! | `body TEXT` | its body from now on |
//! | `wait SECONDS` | |
//! | `METHOD TARGET \| HEADER: VALUE \| ... -> SOURCE STATUS \| CHECK \| ...` | a request, and where its response comes from: `app`; `cache`, without a call; `validated`, after a 304 of the app; `refreshed`, with a call in the background; `asked`, after a call in vain |
//! | `sees \| CHECK \| ...` | what the last request to the app has |
//!
//! A check is `HEADER: VALUE` for all lines of a header, `!HEADER` for one that is missing, `body: TEXT`, `!stored`, or `@trailer: HEADER: VALUE`. `{now-10}` is a date.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::task::yield_now;
use tokio::time::{advance, sleep};

use crate::cache::Cache;
use crate::{Body, BoxError, Request, Response, TestStack, request};

const FILES: [(&str, &str); 8] = [
    ("conditions", include_str!("cases/conditions.txt")),
    ("freshness", include_str!("cases/freshness.txt")),
    ("invalidation", include_str!("cases/invalidation.txt")),
    ("requests", include_str!("cases/requests.txt")),
    ("stale", include_str!("cases/stale.txt")),
    ("storing", include_str!("cases/storing.txt")),
    ("validation", include_str!("cases/validation.txt")),
    ("vary", include_str!("cases/vary.txt")),
];

#[tokio::test(start_paused = true)]
async fn every_case_holds() {
    let (mut count, mut failures) = (0, Vec::new());
    for (file, text) in FILES {
        for case in text.split("= ").skip(1).filter(|case| !case.trim().is_empty()) {
            // A `= ` within a line does not occur in the files.
            let (sentence, steps) = case.split_once('\n').unwrap();
            count += 1;
            if let Err(failure) = run(steps).await {
                failures.push(format!("{file}: {sentence}\n    {failure}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases fail:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= 200, "{count}");
}

#[derive(Default)]
struct App {
    answers: VecDeque<Answer>,
    body: Option<String>,
    calls: usize,
    seen: HeaderMap,
    last_status: u16,
}

#[derive(Clone, Default)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
}

impl App {
    fn next(&mut self, seen: HeaderMap) -> (Answer, String) {
        self.calls += 1;
        self.seen = seen;
        let answer = if self.answers.len() > 1 { self.answers.pop_front() } else { self.answers.front().cloned() };
        let answer = answer.unwrap_or_default();
        self.last_status = answer.status;
        (answer, self.body.clone().unwrap_or_else(|| format!("v{}", self.calls)))
    }
}

async fn answer(app: Arc<Mutex<App>>, request: Request) -> Response {
    let is_head = *request.method() == Method::HEAD;
    let (answer, text) = app.lock().unwrap().next(request.headers().clone());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap();
    let mut stream = None;
    for (name, value) in answer.headers {
        match name.as_str() {
            "@delay" => sleep(Duration::from_secs(value.parse().unwrap())).await,
            "@stream" => stream = Some(value),
            _ => drop(response.headers_mut().append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())),
        }
    }
    if !is_head && !matches!(answer.status, 204 | 304) {
        *response.body_mut() = match stream.as_deref() {
            None => Body::from(text),
            Some(kind) => streamed(text, kind),
        };
    }
    response
}

fn streamed(text: String, kind: &str) -> Body {
    let mut frames: Vec<Result<Frame<Bytes>, BoxError>> =
        text.bytes().map(|octet| Ok(Frame::data(Bytes::copy_from_slice(&[octet])))).collect();
    match kind {
        "cut" => frames.push(Err("the app is gone".into())),
        "trailers" => frames.push(Ok(Frame::trailers([("x-sum".parse().unwrap(), HeaderValue::from_static("7"))].into_iter().collect()))),
        _ => {}
    }
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

/// Runs the steps of a case.
async fn run(steps: &str) -> Result<(), String> {
    let steps: Vec<&str> = steps.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let options = steps.iter().find_map(|step| step.strip_prefix("options ")).unwrap_or("{}");
    let app = Arc::new(Mutex::new(App::default()));
    let served = Arc::clone(&app);
    let stack = TestStack::of::<Cache>(options).over(move |request| answer(Arc::clone(&served), request));
    for step in steps {
        let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
        match word {
            "options" => {}
            "app" => app.lock().unwrap().answers = VecDeque::from([answered(rest)]),
            "then" => app.lock().unwrap().answers.push_back(answered(rest)),
            "body" => app.lock().unwrap().body = Some(rest.to_owned()),
            "wait" => advance(Duration::from_secs(rest.parse().unwrap())).await,
            "sees" => {
                check(rest.trim_start_matches("| "), &app.lock().unwrap().seen, None, None).map_err(|error| format!("`{step}`: {error}"))?
            }
            _ => ask(&stack, &app, step).await.map_err(|error| format!("`{step}`: {error}"))?,
        }
    }
    Ok(())
}

fn answered(text: &str) -> Answer {
    let (status, rest) = text.split_once(" | ").unwrap_or((text, ""));
    Answer { status: status.parse().unwrap(), headers: headers(rest) }
}

/// Headers, between bars.
fn headers(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| part.split_once(':').map(|(name, value)| (name.trim().to_owned(), dated(value.trim())));
    text.split(" | ").filter_map(pair).collect()
}

/// `{now-10}` as a date.
fn dated(text: &str) -> String {
    let Some((before, rest)) = text.split_once("{now") else { return text.to_owned() };
    let (offset, after) = rest.split_once('}').unwrap();
    let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().unwrap() };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(now.saturating_add_signed(offset));
    format!("{before}{}{after}", httpdate::fmt_http_date(time))
}

async fn ask(stack: &TestStack, app: &Mutex<App>, step: &str) -> Result<(), String> {
    let (asked, expected) = step.split_once(" -> ").ok_or("no such line")?;
    let (line, fields) = asked.split_once(" | ").unwrap_or((asked, ""));
    let (method, target) = line.split_once(' ').unwrap();
    let mut sent = request(method.parse().unwrap(), target, Body::empty());
    for (name, value) in headers(fields) {
        match name.as_str() {
            "@body" => *sent.body_mut() = Body::from(value),
            "host" => drop(sent.headers_mut().insert("host", value.parse().unwrap())),
            _ => drop(sent.headers_mut().append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())),
        }
    }
    let before = app.lock().unwrap().calls;
    let (parts, body) = stack.call(sent).await.into_parts();
    let collected = body.collect().await;
    for _ in 0..64 {
        yield_now().await;
    }
    let (calls, last_status) = {
        let app = app.lock().unwrap();
        (app.calls - before, app.last_status)
    };

    let (source, checks) = expected.split_once(" | ").unwrap_or((expected, ""));
    let (source, status) = source.split_once(' ').unwrap_or((source, "200"));
    if status == "cut" {
        return if collected.is_err() { Ok(()) } else { Err("the body is whole".to_owned()) };
    }
    let collected = collected.map_err(|error| error.to_string())?;
    let told = parts.headers.get("cache-status").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let holds = match source {
        "app" => calls > 0 && told.contains("fwd=") && !told.contains("hit"),
        "cache" => calls == 0,
        "validated" => calls == 1 && last_status == 304 && told.contains("fwd-status=304"),
        "refreshed" | "asked" => calls == 1 && told.contains("hit"),
        _ => return Err(format!("no such source: {source}")),
    };
    if !holds || parts.status.as_str() != status {
        return Err(format!("{} after {calls} calls, {told}", parts.status));
    }
    let trailers = collected.trailers().cloned();
    check(checks, &parts.headers, Some(&collected.to_bytes()), trailers.as_ref())
}

fn check(checks: &str, headers: &HeaderMap, body: Option<&[u8]>, trailers: Option<&HeaderMap>) -> Result<(), String> {
    let lines = |headers: &HeaderMap, name: &str| -> Vec<String> {
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
    for check in checks.split(" | ").map(str::trim).filter(|check| !check.is_empty()) {
        if let Some(name) = check.strip_prefix('!') {
            let is_there =
                if name == "stored" { lines(headers, "cache-status").concat().contains("stored") } else { headers.contains_key(name) };
            if is_there {
                return Err(format!("{name} is there: {:?}", lines(headers, name)));
            }
            continue;
        }
        let (name, value) = check.split_once(':').ok_or(format!("no such check: {check}"))?;
        let value = dated(value.trim());
        match name {
            "body" if body != Some(value.as_bytes()) => return Err(format!("the body is {:?}", body.map(String::from_utf8_lossy))),
            "body" => {}
            "@trailer" => {
                let (name, value) = value.split_once(':').unwrap();
                if trailers.map(|trailers| lines(trailers, name)) != Some(vec![value.trim().to_owned()]) {
                    return Err(format!("the trailers are {trailers:?}"));
                }
            }
            _ => match wanted.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => values.push(value),
                None => wanted.push((name.to_owned(), vec![value])),
            },
        }
    }
    match wanted.into_iter().find(|(name, values)| lines(headers, name) != *values) {
        Some((name, values)) => Err(format!("{name} is {:?}, not {values:?}", lines(headers, &name))),
        None => Ok(()),
    }
}
