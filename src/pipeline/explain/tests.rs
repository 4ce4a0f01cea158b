//! What is explained is what the built stack does: for pipelines and requests at random.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http::header::CONTENT_LENGTH;
use http::{Extensions, HeaderMap, StatusCode};
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::service_fn;
use ziggurat_middleware::access::Access;
use ziggurat_middleware::access_log::AccessLog;
use ziggurat_middleware::api_key::ApiKey;
use ziggurat_middleware::basic_auth::BasicAuth;
use ziggurat_middleware::body_limit::BodyLimit;
use ziggurat_middleware::buffer::Buffer;
use ziggurat_middleware::compress::Compress;
use ziggurat_middleware::cors::Cors;
use ziggurat_middleware::errors::Errors;
use ziggurat_middleware::forwarded::Forwarded;
use ziggurat_middleware::headers::Headers;
use ziggurat_middleware::limit::Limit;
use ziggurat_middleware::rate_limit::RateLimit;
use ziggurat_middleware::request_id::AssignRequestId;
use ziggurat_middleware::rewrite::Rewrite;
use ziggurat_middleware::security_headers::SecurityHeaders;
use ziggurat_middleware::sendfile::Sendfile;
use ziggurat_middleware::static_files::Static;
use ziggurat_middleware::timeout::Timeout;
use ziggurat_middleware::{Body, Context, Explain, IntoStage, Lifecycle, Middleware, Request, RequestSummary, Response, Result, around};

use super::arrival::Arrival;
use super::{Explanation, Question, Role};
use crate::apps::metrics::ShowMetrics;
use crate::apps::redirect::Redirect;
use crate::apps::respond::Respond;
use crate::pipeline::{Pipeline, Registry};

/// The numbers of the probes that a request has met.
type Way = Arc<Mutex<Vec<u64>>>;

/// Notes that a request has come by.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Probe {
    number: u64,
}

impl Middleware for Probe {
    const NAME: &'static str = "probe";

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        explain.note(self.number.to_string());
        Ok(())
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let way = context.host::<Way>().cloned().unwrap_or_default();
        Ok(around(move |_: &mut Request| {
            way.lock().unwrap().push(self.number);
            Ok(|response: Response| response)
        }))
    }
}

/// Layers with their options. `FOLDER` stands for a folder with some files.
const LAYERS: [&str; 22] = [
    r#""request_id""#,
    r#"{ "request_id": { "trust": true } }"#,
    r#"{ "security_headers": { "hsts": {} } }"#,
    r#"{ "headers": { "request": { "set": { "x-a": "1" } }, "response": { "set": { "x-set": "1" }, "remove": ["x-frame-options"] } } }"#,
    r#"{ "access": [{ "deny": "10.0.0.7" }, { "allow": ["10.0.0.0/8", "127.0.0.1", "unix"] }] }"#,
    r#"{ "access_log": { "to": "FOLDER/access.log" } }"#,
    r#"{ "basic_auth": "FOLDER/users" }"#,
    r#"{ "api_key": { "keys": "FOLDER/keys", "from": ["header:x-a", "query:q"], "remove": true } }"#,
    r#"{ "body_limit": "10B" }"#,
    r#"{ "buffer": "20B" }"#,
    r#"{ "timeout": "30s" }"#,
    r#"{ "forwarded": { "trust": ["10.0.0.1"] } }"#,
    r#"{ "rewrite": [{ "from": "/old/*", "to": "/new/*" }, { "regex": "/gone/(.)", "to": "/static/{1}.css?x={1}" }] }"#,
    r#"{ "compress": { "above": "10B" } }"#,
    r#"{ "cors": { "origins": ["https://a.example"], "credentials": true } }"#,
    r#"{ "cors": "*" }"#,
    r#"{ "rate_limit": { "allow": "1000/s" } }"#,
    r#"{ "limit": { "at_most": 100, "per": "client" } }"#,
    r#"{ "static": { "root": "FOLDER/files", "immutable": true } }"#,
    r#"{ "static": { "at": "/", "root": "FOLDER/files", "fallback": "index.html" } }"#,
    r#"{ "sendfile": { "at": "/protected", "root": "FOLDER/files" } }"#,
    r#"{ "errors": { "pages": { "404": "FOLDER/files/index.html", "5xx": "FOLDER/files/index.html" }, "of": "all" } }"#,
];

const APPS: [&str; 8] = [
    r#"{ "respond": 204 }"#,
    r#"{ "respond": { "body": "a text that is longer than ten octets" } }"#,
    r#"{ "respond": { "status": 404, "headers": { "x-frame-options": "SAMEORIGIN" } } }"#,
    r#"{ "respond": { "headers": { "x-accel-redirect": "/protected/s.css" } } }"#,
    r#"{ "redirect": "https://{host}/moved{path}{query}" }"#,
    r#"{ "static": "FOLDER/files" }"#,
    r#"{ "metrics": {} }"#,
    r#"{ "stub": {} }"#,
];

/// Conditions of which none covers another one.
const CONDITIONS: [&str; 7] = [
    r#"{ "match": { "path": ["/new/*", "/users/{id}"] } }"#,
    r#"{ "mount": "/blog" }"#,
    r#"{ "match": { "method": "POST" } }"#,
    r#"{ "match": { "header": { "x-a": true } } }"#,
    r#"{ "match": { "client": "10.0.0.0/24", "scheme": "http" } }"#,
    r#"{ "match": { "query": { "q": "1" }, "not": { "host": "a.example" } } }"#,
    r#"{ "match": { "cookie": { "c": "1" } } }"#,
];

fn layers() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(&LAYERS[..]), 0..4)
}

/// A stack, with a table of routes at its bottom or an app.
fn stack() -> impl Strategy<Value = Value> {
    let leaf =
        (layers(), proptest::sample::select(&APPS[..])).prop_map(|(layers, app)| json!({ "layers": parsed(&layers), "app": parse(app) }));
    leaf.prop_recursive(2, 12, 4, |inner| {
        let routes = proptest::collection::vec(inner.clone(), CONDITIONS.len());
        let chosen = proptest::sample::subsequence(&CONDITIONS[..], 0..=3);
        (layers(), chosen, routes, proptest::option::of(inner)).prop_map(|(layers, chosen, stacks, rest)| {
            let mut routes: Vec<Value> = chosen
                .iter()
                .zip(stacks)
                .map(|(condition, mut stack)| {
                    stack.as_object_mut().unwrap().extend(parse(condition).as_object().unwrap().clone());
                    stack
                })
                .collect();
            // A table has at least one route.
            if routes.is_empty() || rest.is_some() {
                routes.push(rest.unwrap_or_else(|| json!({ "app": { "respond": 418 } })));
            }
            json!({ "layers": parsed(&layers), "app": { "routes": routes } })
        })
    })
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn parsed(layers: &[&str]) -> Vec<Value> {
    layers.iter().map(|layer| parse(layer)).collect()
}

fn questions() -> impl Strategy<Value = Question> {
    let method = proptest::sample::select(&["GET", "GET", "GET", "HEAD", "POST", "OPTIONS"][..]);
    let target = proptest::sample::select(
        &[
            "/",
            "/old/x",
            "/new/x?q=1",
            "/users/7",
            "/blog/y",
            "/blog",
            "/static/s.css",
            "/static",
            "/static/none",
            "/static/.hidden",
            "/gone/s",
            "/a/../b",
            "/a%2e%2e/b",
            "/plain.txt",
            "/?q=1",
            "/%2e%2e/x",
            "//x",
        ][..],
    );
    let header = proptest::sample::select(
        &[
            "accept-encoding: gzip, br;q=0.5",
            "accept-encoding: identity",
            "origin: https://a.example",
            "origin: https://b.example",
            "access-control-request-method: PUT",
            "x-forwarded-for: 10.0.0.7",
            "x-forwarded-proto: https",
            "x-forwarded-host: b.example",
            "x-forwarded-for: nonsense;",
            "x-request-id: given",
            "x-a: 1",
            "cookie: c=1",
            "accept: application/json",
            "accept: image/png",
            "if-none-match: *",
            "range: bytes=0-3",
            "x_under: score",
        ][..],
    );
    let headers = proptest::collection::vec(header, 0..5);
    let from = proptest::sample::select(&["127.0.0.1", "10.0.0.1", "10.0.0.7", "192.0.2.1", "2001:db8::1", "unix"][..]);
    let user = proptest::option::of(proptest::sample::select(&["ann:secret", "ann:wrong"][..]));
    let body = proptest::option::of(proptest::sample::select(&["5B", "15B", "50B"][..]));
    (method, target, headers, from, user, body).prop_map(|(method, target, headers, from, user, body)| {
        let mut question = Question {
            method: method.to_owned(),
            url: format!("http://a.example{target}"),
            from: Some(from.to_owned()),
            user: user.map(str::to_owned),
            body_size: body.filter(|_| method == "POST").map(str::to_owned),
            ..Question::default()
        };
        headers.iter().for_each(|header| question.add_header(header).unwrap());
        question
    })
}

/// A folder with some files.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("files/static")).unwrap();
    for (name, content) in [
        ("files/s.css", "body { color: black; background: white }"),
        ("files/s.css.gz", "not really gzip"),
        ("files/plain.txt", "plain"),
        ("files/index.html", "<p>{status} {detail}</p>"),
        ("files/static/index.html", "<p>a folder</p>"),
        // 1
        ("keys", "robot:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"),
        // ann:secret
        ("users", "ann:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n"),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn registry() -> Registry {
    let stub = service_fn(async |request: Request| {
        let mut response = Response::new(Body::from(format!("{} a text that can be compressed", request.uri())));
        response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
        Ok::<_, Infallible>(response)
    });
    Registry::new()
        .layer::<Access>()
        .layer::<AccessLog>()
        .layer::<ApiKey>()
        .layer::<BasicAuth>()
        .layer::<BodyLimit>()
        .layer::<Buffer>()
        .layer::<Compress>()
        .layer::<Cors>()
        .layer::<Errors>()
        .layer::<Forwarded>()
        .layer::<Headers>()
        .layer::<Limit>()
        .layer::<RateLimit>()
        .layer::<AssignRequestId>()
        .layer::<Rewrite>()
        .layer::<SecurityHeaders>()
        .layer::<Sendfile>()
        .layer::<Static>()
        .layer::<Timeout>()
        .layer::<Probe>()
        .app::<Redirect>()
        .app::<Respond>()
        .app::<ShowMetrics>()
        .app::<Static>()
        .router("stub", stub)
}

/// Puts a probe above each layer and each app.
fn with_probes(stack: &mut Value, numbers: &mut impl Iterator<Item = u64>) {
    let layers = stack["layers"].as_array().cloned().unwrap_or_default();
    let mut probed = Vec::new();
    for layer in layers {
        probed.extend([json!({ "probe": { "number": numbers.next() } }), layer]);
    }
    probed.push(json!({ "probe": { "number": numbers.next() } }));
    stack["layers"] = probed.into();
    for route in stack["app"].get_mut("routes").and_then(Value::as_array_mut).into_iter().flatten() {
        with_probes(route, numbers);
    }
}

/// Headers whose values only a running stack knows, and the length of what was encoded.
fn comparable(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut pairs = super::explanation::pairs(headers);
    pairs.retain(|(name, value)| {
        !matches!(name.as_str(), "x-request-id" | "ratelimit" | "ratelimit-policy" | "content-length") && !value.starts_with("multipart/")
    });
    pairs.sort();
    pairs
}

/// What happens to a request in the built stack: who answers, the status and the headers.
async fn served(pipeline: &Pipeline, question: &Question, way: &Way) -> (String, StatusCode, HeaderMap) {
    let mut host = Extensions::new();
    host.insert(Arc::clone(way));
    let lifecycle = Lifecycle::hosted(host);
    // A running program has metrics.
    Context::new("test", Path::new("/"), lifecycle.clone()).on_scrape(|metrics| {
        metrics.counter("test_total", "A text that is long enough, long enough, long enough to be compressed.").sample(&[], 1_u64);
    });
    let stack = pipeline.build(&lifecycle).unwrap();
    let mut request = Arrival::new(pipeline, question).unwrap().request;
    let length = request.headers().get(CONTENT_LENGTH).map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    *request.body_mut() = Body::from(vec![b'x'; length]);
    let summary = RequestSummary::new(request.method(), request.uri(), request.extensions());
    request.extensions_mut().insert(summary.clone());
    let response = stack.run(request).await;
    let by = summary.answered_by().map(ToString::to_string).unwrap_or_default();
    let outcome = (by, response.status(), response.headers().clone());
    drop(response);
    lifecycle.retire().await;
    lifecycle.shutdown();
    outcome
}

/// The numbers of the probes that are explained.
fn explained_way(explanation: &Explanation) -> Vec<u64> {
    let probes = explanation.hops.iter().filter(|hop| hop.kind.as_deref() == Some("probe"));
    probes.map(|hop| hop.notes[0].parse().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_explained_is_what_the_built_stack_does(mut file in stack(), question in questions()) {
        with_probes(&mut file, &mut (1..));
        let folder = folder();
        let text = file.to_string().replace("FOLDER", folder.path().to_str().unwrap());
        let pipeline = Pipeline::from_text("pipeline.json", &text, Path::new(""), &registry(), &|_| None).unwrap();
        let explanation = pipeline.explain(&question).unwrap();
        if explanation.hops.iter().any(|hop| hop.role == Role::Server && hop.answers) {
            return Ok(());
        }
        let way = Way::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (by, status, headers) = runtime.block_on(served(&pipeline, &question, &way));
        let (told, met) = (explained_way(&explanation), way.lock().unwrap().clone());
        prop_assert!(told.starts_with(&met), "{met:?} were met, and {told:?} explained\n{text}");
        let end = explanation.answered_by().unwrap();
        if met.len() < told.len() {
            // A layer has answered that may: it said so.
            let early = explanation.hops.iter().find(|hop| hop.place == by).unwrap();
            prop_assert!(!early.may_answer.is_empty(), "{by} answers {status}, and did not say that it may\n{text}");
            return Ok(());
        }
        if end.place != by {
            let early = explanation.hops.iter().find(|hop| hop.place == by);
            let is_said = early.is_some_and(|hop| hop.may_answer.iter().any(|possible| possible.status == status.as_u16()));
            prop_assert!(is_said, "{by} answers {status}, and {} was explained\n{text}", end.place);
            return Ok(());
        }
        if let Some(known) = explanation.status {
            prop_assert_eq!(known, status.as_u16(), "{}", text);
            let told: HeaderMap = explanation.headers.iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
                headers
            });
            prop_assert_eq!(comparable(&told), comparable(&headers), "{}", text);
        }
    }
}
