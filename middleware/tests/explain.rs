//! What each native layer says of a request, beside what it does with it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use http::{Method, StatusCode};
use ziggurat_middleware::access::Access;
use ziggurat_middleware::access_log::AccessLog;
use ziggurat_middleware::api_key::{ApiKey, NewKey};
use ziggurat_middleware::basic_auth::BasicAuth;
use ziggurat_middleware::body_limit::BodyLimit;
use ziggurat_middleware::buffer::Buffer;
use ziggurat_middleware::compress::Compress;
use ziggurat_middleware::cors::Cors;
use ziggurat_middleware::csp_nonce::CspNonce;
use ziggurat_middleware::csrf::Csrf;
use ziggurat_middleware::decompress::Decompress;
use ziggurat_middleware::errors::Errors;
use ziggurat_middleware::forward_auth::ForwardAuth;
use ziggurat_middleware::forwarded::Forwarded;
use ziggurat_middleware::headers::Headers;
use ziggurat_middleware::jwt::Jwt;
use ziggurat_middleware::limit::Limit;
use ziggurat_middleware::maintenance::Maintenance;
use ziggurat_middleware::mirror::Mirror;
use ziggurat_middleware::oidc::Oidc;
use ziggurat_middleware::rate_limit::RateLimit;
use ziggurat_middleware::request_id::AssignRequestId;
use ziggurat_middleware::rewrite::Rewrite;
use ziggurat_middleware::security_headers::SecurityHeaders;
use ziggurat_middleware::sendfile::Sendfile;
use ziggurat_middleware::slash::Slash;
use ziggurat_middleware::static_files::Static;
use ziggurat_middleware::timeout::Timeout;
use ziggurat_middleware::{App, Body, Explained, Middleware, Problem, Request, Response, TestStack, request};

fn get(target: &str, headers: &[(&'static str, &str)]) -> Request {
    of(Method::GET, target, headers)
}

fn of(method: Method, target: &str, headers: &[(&'static str, &str)]) -> Request {
    let mut request = request(method, target, Body::empty());
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

/// What a layer says: its notes, the status if it answers, and what else it may answer.
fn told<M: Middleware>(options: &str, request: Request) -> (Vec<String>, Option<u16>, Vec<u16>) {
    let Explained { notes, answer, possible, .. } = TestStack::explain::<M>(options, request);
    (notes, answer.map(|response| response.status().as_u16()), possible.iter().map(|possible| possible.status.as_u16()).collect())
}

/// What a layer says of a response, and the response above it.
fn back<M: Middleware>(options: &str, request: Request, mut response: Option<Response>) -> (Vec<String>, Option<Response>) {
    let notes = TestStack::explain::<M>(options, request).respond(response.as_mut());
    (notes, response)
}

fn text(body: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    response
}

#[test]
fn access_names_the_rule_that_decides() {
    let rules = r#"[{ "deny": "192.0.2.1" }, { "allow": "all" }]"#;
    assert_eq!(
        told::<Access>(rules, get("/", &[])),
        (vec!["192.0.2.1 is refused: `192.0.2.1` of rule 1 denies it".to_owned()], Some(403), vec![])
    );
    assert_eq!(told::<Access>(r#"[{ "allow": "all" }]"#, get("/", &[])).0, ["192.0.2.1 comes in: `all` of rule 1 allows it"]);
    assert_eq!(told::<Access>(r#"[{ "allow": "10.0.0.0/8" }]"#, get("/", &[])).0, ["192.0.2.1 is refused: no rule names it"]);
}

#[test]
fn access_log_says_where_its_line_goes() {
    assert_eq!(told::<AccessLog>("{}", get("/", &[])).0, ["writes a line to `stdout` when the response has ended"]);
}

#[test]
fn basic_auth_looks_for_a_password_and_checks_none() {
    let (notes, status, _) = told::<BasicAuth>(r#""no-such-file""#, get("/", &[]));
    assert_eq!((notes, status), (vec!["asks for a user name and a password: the request has none".to_owned()], Some(401)));
    let (notes, status, possible) = told::<BasicAuth>(r#""no-such-file""#, get("/", &[("authorization", "Basic YW5uOng=")]));
    assert_eq!(notes, ["the request has a password of `ann`, which is not checked here"]);
    assert_eq!((status, possible), (None, vec![401, 503]));
}

#[test]
fn api_key_says_whose_key_a_request_has() {
    let (file, made) = (tempfile::NamedTempFile::new().unwrap(), NewKey::new("ann", &[]).unwrap());
    fs::write(file.path(), &made.line).unwrap();
    let options = |scopes: &str| format!(r#"{{ "keys": "{}", "scopes": {scopes} }}"#, file.path().display());
    assert_eq!(told::<ApiKey>(&options("[]"), get("/", &[])).1, Some(401));
    let (notes, status, possible) = told::<ApiKey>(&options("[]"), get("/", &[("x-api-key", &made.key)]));
    assert_eq!((notes, status, possible), (vec!["the key is that of `ann`".to_owned()], None, vec![503]));
    let (notes, status, _) = told::<ApiKey>(&options(r#""admin""#), get("/", &[("x-api-key", &made.key)]));
    assert_eq!((notes, status), (vec!["the API key of `ann` lacks a scope of `admin`".to_owned()], Some(403)));
}

#[test]
fn forward_auth_says_whom_it_asks_and_removes_what_only_the_server_may_say() {
    let options = r#"{ "to": "http://auth.test/check", "user": "remote-user" }"#;
    let explained = TestStack::explain::<ForwardAuth>(options, get("/", &[("remote-user", "root")]));
    assert_eq!(explained.notes, ["asks `http://auth.test/check` whether the request may pass"]);
    assert!(!explained.request.headers().contains_key("remote-user"));
    assert_eq!(told::<ForwardAuth>(options, get("/", &[])).2, [401, 503]);
    assert_eq!(told::<ForwardAuth>(r#"{ "to": "http://auth.test/", "on_failure": "allow" }"#, get("/", &[])).2, [401]);
}

#[test]
fn jwt_looks_for_a_token_and_checks_none() {
    let options = r#"{ "keys": "no-such-file", "algorithms": "ES256", "issuer": "i", "audience": "a", "scopes": "read" }"#;
    assert_eq!(told::<Jwt>(options, get("/", &[])), (vec!["asks for a token: the request has none".to_owned()], Some(401), vec![]));
    let (notes, status, possible) = told::<Jwt>(options, get("/", &[("authorization", "Bearer x")]));
    assert_eq!((notes, status), (vec!["the request has a token, which is not checked here".to_owned()], None));
    assert_eq!(possible, [401, 403, 503]);
}

#[test]
fn oidc_says_where_a_browser_logs_in_and_refuses_scripts() {
    let options = r#"{ "issuer": "https://id.test", "client_id": "wiki", "secrets": "0123456789abcdef0123456789abcdef" }"#;
    let (notes, status, _) = told::<Oidc>(options, get("/", &[("accept", "text/html")]));
    assert_eq!(
        (notes, status),
        (vec!["the request has no session: sends the browser to `https://id.test/` to log in".to_owned()], Some(302))
    );
    assert_eq!(told::<Oidc>(options, get("/", &[("sec-fetch-mode", "cors")])).1, Some(401));
    let (notes, status, possible) = told::<Oidc>(options, get("/", &[("cookie", "__Host-session=x")]));
    assert_eq!((notes, status), (vec!["the request has a session, which is not checked here".to_owned()], None));
    assert_eq!(possible, [302, 403]);
}

#[test]
fn limits_of_bodies_judge_the_length_that_is_announced() {
    let sized = |length: &str| of(Method::POST, "/", &[("content-length", length)]);
    assert_eq!(told::<BodyLimit>(r#""10B""#, sized("11")), (vec!["the request body is over 10B".to_owned()], Some(413), vec![]));
    assert_eq!(told::<BodyLimit>(r#""10B""#, sized("10")).0, ["the body of 10B passes: at most 10B does"]);
    let chunked = || of(Method::POST, "/", &[("transfer-encoding", "chunked")]);
    assert_eq!(told::<BodyLimit>(r#""10B""#, chunked()).2, [413]);
    assert_eq!(told::<Buffer>(r#""10B""#, sized("11")).1, Some(413));
    assert_eq!(told::<Buffer>(r#""10B""#, sized("10")), (vec!["takes in the body of 10B in memory".to_owned()], None, vec![503]));
    assert_eq!(told::<Buffer>(r#""10B""#, chunked()).2, [413, 503]);
    assert_eq!(told::<Buffer>(r#""10B""#, get("/", &[])).0, ["no body to take in"]);
}

/// More than 1 KiB that is easy to compress.
const LONG: &str = match std::str::from_utf8(&[b'x'; 2048]) {
    Ok(text) => text,
    Err(_) => "",
};

#[test]
fn compress_says_why_a_response_stays_as_it_is() {
    let asked = || get("/", &[("accept-encoding", "br, gzip;q=0.5")]);
    assert_eq!(told::<Compress>("{}", asked()).0, ["the client accepts `br`"]);
    assert_eq!(told::<Compress>("{}", get("/", &[])).0, ["the client accepts no encoding: there is no `accept-encoding`"]);
    assert_eq!(told::<Compress>(r#"{ "with": ["zstd"] }"#, asked()).0, ["the client accepts none of `zstd`"]);
    let (notes, _) = back::<Compress>("{}", asked(), None);
    assert_eq!(notes, ["`br`, if the response is text of at least 1KiB, not encoded yet"]);
    let small = back::<Compress>("{}", asked(), Some(text("small"))).0;
    assert_eq!(small, ["as it is: the body has 5 octets, and `above` is 1KiB"]);
    let small = back::<Compress>(r#"{ "above": "1B" }"#, asked(), Some(text("small"))).0;
    assert_eq!(small, ["as it is: `br` would not make it smaller"]);
    let (notes, response) = back::<Compress>("{}", asked(), Some(text(LONG)));
    assert_eq!(
        (notes, &response.unwrap().headers()["content-encoding"]),
        (vec!["compresses with `br`".to_owned()], &"br".parse::<http::HeaderValue>().unwrap())
    );
    let with = |name: &'static str, value: &str| {
        let mut response = text("small");
        response.headers_mut().insert(name, value.parse().unwrap());
        back::<Compress>(r#"{ "above": "1B" }"#, asked(), Some(response)).0
    };
    assert_eq!(with("content-encoding", "gzip"), ["as it is: it is encoded already, with `gzip`"]);
    assert_eq!(with("content-type", "image/png"), ["as it is: `image/png` is not in `types`"]);
    assert_eq!(with("cache-control", "no-transform"), ["as it is: `cache-control: no-transform` forbids it"]);
}

#[test]
fn cors_says_whether_an_options_request_is_a_preflight() {
    let options = r#""https://a.example""#;
    let preflight = |origin: &str| of(Method::OPTIONS, "/", &[("origin", origin), ("access-control-request-method", "PUT")]);
    assert_eq!(
        told::<Cors>(options, preflight("https://a.example")),
        (vec!["a preflight is answered here: pages of `https://a.example` may call".to_owned()], Some(204), vec![])
    );
    let (notes, ..) = told::<Cors>(options, preflight("https://b.example"));
    assert_eq!(notes, ["a preflight is answered here: pages of `https://b.example` may not call: the origin is not in `origins`"]);
    let (notes, status, _) = told::<Cors>(options, of(Method::OPTIONS, "/", &[]));
    assert_eq!(
        (notes[0].as_str(), status),
        ("no preflight, which has `origin` and `access-control-request-method`; the request has no `origin`", None)
    );
}

#[test]
fn csp_nonce_gives_the_app_a_nonce() {
    let options = r#""script-src 'nonce-{nonce}'""#;
    let (notes, response) = back::<CspNonce>(options, get("/", &[]), Some(text("page")));
    assert_eq!((notes.len(), response.unwrap().headers().contains_key("content-security-policy")), (0, true));
    assert_eq!(told::<CspNonce>(options, get("/", &[])).0, ["gives the app a nonce, in `x-csp-nonce`"]);
    assert_eq!(back::<CspNonce>(options, get("/", &[]), None).0, ["sets `content-security-policy`, unless the response has one or is 304"]);
    assert!(TestStack::explain::<CspNonce>(options, get("/", &[])).request.headers().contains_key("x-csp-nonce"));
}

#[test]
fn csrf_says_why_a_request_passes() {
    let note = |method, headers: &[(&'static str, &str)]| told::<Csrf>(r#""https://a.example""#, of(method, "/", headers));
    assert_eq!(note(Method::GET, &[]).0, ["passes: the method is safe"]);
    assert_eq!(note(Method::POST, &[("sec-fetch-site", "same-origin")]).0, ["passes: the page is of this origin"]);
    assert_eq!(
        note(Method::POST, &[("sec-fetch-site", "same-site"), ("origin", "https://a.example")]).0,
        ["passes: the origin is in `trust`"]
    );
    assert_eq!(
        note(Method::POST, &[("sec-fetch-site", "same-site"), ("origin", "https://b.example")]),
        (vec!["a page of `https://b.example` has sent it: `sec-fetch-site` is `same-site`".to_owned()], Some(403), vec![])
    );
}

#[test]
fn decompress_says_what_it_takes_off_and_what_the_body_may_turn_out_to_be() {
    let of = |coding: &str| of(Method::POST, "/", &[("content-encoding", coding), ("content-length", "10")]);
    assert_eq!(told::<Decompress>("{}", of("gzip")), (vec!["takes `gzip` off the body".to_owned()], None, vec![400, 413]));
    assert_eq!(told::<Decompress>("{}", of("identity")), (vec!["the body has no coding".to_owned()], None, vec![]));
    assert_eq!(told::<Decompress>("{}", of("lzma")), (vec!["`lzma` is not taken".to_owned()], Some(415), vec![]));
    let below = TestStack::explain::<Decompress>("{}", of("gzip")).request;
    assert!(!below.headers().contains_key("content-length") && !below.headers().contains_key("content-encoding"));
}

#[test]
fn errors_says_which_pages_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("404.html");
    fs::write(&page, "<p>gone</p>").unwrap();
    let options = format!(r#"{{ "pages": {{ "404": "{}" }} }}"#, page.display());
    let (notes, response) = back::<Errors>(&options, get("/", &[]), Some(Problem::new(StatusCode::NOT_FOUND).into_response()));
    assert_eq!(
        (notes, &response.unwrap().headers()["content-type"]),
        (vec!["the error has a page".to_owned()], &"text/html; charset=utf-8".parse::<http::HeaderValue>().unwrap())
    );
    let app = "no page: there is one for `404`, with an error of the server, not of the app";
    assert_eq!(back::<Errors>(&options, get("/", &[]), Some(text("fine"))).0, [app]);
}

#[test]
fn forwarded_says_whether_the_peer_is_believed() {
    let claim = || get("/", &[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https"), ("host", "a.example")]);
    let (notes, ..) = told::<Forwarded>("{}", claim());
    assert_eq!(notes, ["the peer 192.0.2.1 is not in `trust`: `x-forwarded-for`, `x-forwarded-proto` does not count and is removed"]);
    let (notes, ..) = told::<Forwarded>(r#""192.0.2.1""#, claim());
    assert_eq!(
        notes,
        [
            "the peer 192.0.2.1 is trusted: what it says in headers counts",
            "the client is 203.0.113.9, over https, and asks for `a.example`"
        ]
    );
    let malformed = get("/", &[("x-forwarded-for", "nonsense;")]);
    assert_eq!(told::<Forwarded>(r#""192.0.2.1""#, malformed).1, Some(400));
}

#[test]
fn headers_says_what_is_changed_and_changes_what_is_known() {
    let options = r#"{ "request": { "set": { "x-in": "1" } }, "response": { "remove": "x-out", "set": { "x-new": "2" } } }"#;
    let explained = TestStack::explain::<Headers>(options, get("/", &[]));
    assert_eq!(
        (explained.notes.as_slice(), &explained.request.headers()["x-in"]),
        (&["of the request: sets `x-in`".to_owned()][..], &"1".parse::<http::HeaderValue>().unwrap())
    );
    assert_eq!(back::<Headers>(options, get("/", &[]), None).0, ["removes `x-out`; sets `x-new`"]);
    let (_, response) = back::<Headers>(options, get("/", &[]), Some(text("")));
    assert_eq!(response.unwrap().headers()["x-new"], "2");
}

#[test]
fn limits_say_what_they_count_by_and_when_they_refuse() {
    let (_, _, possible) = told::<Limit>(r#"{ "at_most": 2 }"#, get("/", &[]));
    assert_eq!(possible, [503]);
    let explained = TestStack::explain::<Limit>(r#"{ "at_most": 2, "per": ["client", "path"], "queue": { "limit": 0 } }"#, get("/", &[]));
    assert_eq!(explained.possible[0].condition, "if 2 requests of the same client and path are under way");
    let (notes, _, possible) = told::<RateLimit>(r#""10/min""#, get("/", &[]));
    assert_eq!((notes, possible), (vec!["counts requests of the same client: 10/min, 10 at once".to_owned()], vec![429]));
    let (notes, _, possible) = told::<RateLimit>(r#"{ "allow": "10/min", "exempt": "192.0.2.0/24" }"#, get("/", &[]));
    assert_eq!((notes, possible), (vec!["no limit: `192.0.2.0/24` is exempt".to_owned()], vec![]));
    assert_eq!(told::<Timeout>(r#""5s""#, get("/", &[])).2, [504]);
}

#[test]
fn maintenance_says_whether_the_site_is_closed_and_who_passes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("closed");
    let options = format!(r#"{{ "file": "{}", "open": "/healthz" }}"#, file.display());
    let told = |target: &str| told::<Maintenance>(&options, get(target, &[]));
    assert_eq!(told("/"), (vec![format!("open: `{}` is not there", file.display())], None, vec![]));
    fs::write(&file, "").unwrap();
    assert_eq!(told("/"), (vec![format!("closed: `{}` is there", file.display())], Some(503), vec![]));
    let passes = format!("closed, because `{}` is there, but the request passes: `/healthz` is open", file.display());
    assert_eq!(told("/healthz"), (vec![passes], None, vec![]));
}

#[test]
fn mirror_says_where_a_copy_goes() {
    let told = |options: &str, length: &str| told::<Mirror>(options, of(Method::POST, "/", &[("content-length", length)])).0;
    assert_eq!(told(r#""http://10.0.0.6:8000""#, "10"), ["a copy goes to `http://10.0.0.6:8000`"]);
    let share = r#"{ "to": "http://10.0.0.6:8000", "share": "10%", "body": "1KiB" }"#;
    assert_eq!(told(share, "10"), ["a copy goes to `http://10.0.0.6:8000` with a chance of 10%"]);
    assert_eq!(told(share, "2048"), ["the request is not copied: its body of 2KiB is over 1KiB"]);
}

#[test]
fn request_id_keeps_an_id_that_it_trusts() {
    let given = || get("/", &[("x-request-id", "abc")]);
    assert_eq!(told::<AssignRequestId>("{}", given()).0, ["assigns a new id, in `x-request-id` of the request and of the response"]);
    assert_eq!(
        told::<AssignRequestId>(r#"{ "trust": true }"#, given()).0,
        ["the id is `abc`, in `x-request-id` of the request and of the response"]
    );
}

#[test]
fn rewrite_shows_the_new_target_to_the_layers_below() {
    let explained = TestStack::explain::<Rewrite>(r#"[{ "from": "/old/*", "to": "/new/*" }]"#, get("/old/x?q", &[]));
    assert_eq!((explained.notes.as_slice(), explained.request.uri().path()), (&["`/old/x?q` becomes `/new/x?q`".to_owned()][..], "/new/x"));
    assert_eq!(told::<Rewrite>(r#"[{ "from": "/old/*", "to": "/new/*" }]"#, get("/x", &[])).0, ["no rule matches `/x`"]);
    assert_eq!(told::<Rewrite>(r#"[{ "from": "/old/*", "to": "/new/*" }]"#, get("/a/../b", &[])).1, Some(400));
}

#[test]
fn security_headers_says_why_there_is_no_hsts() {
    assert_eq!(told::<SecurityHeaders>(r#"{ "hsts": {} }"#, get("/", &[])).0, ["no `strict-transport-security`: the scheme is http"]);
    let (notes, _) = back::<SecurityHeaders>("{}", get("/", &[]), None);
    assert!(notes[0].starts_with("sets `x-content-type-options`") && notes[0].ends_with("unless the response has them"), "{notes:?}");
}

#[test]
fn slash_says_where_the_client_is_sent() {
    let told = |target: &str| told::<Slash>(r#""append""#, get(target, &[]));
    assert_eq!(told("/about?x"), (vec!["sends the client to `/about/?x`".to_owned()], Some(308), vec![]));
    assert_eq!(told("/about/"), (vec!["the path stays".to_owned()], None, vec![]));
}

#[test]
fn static_says_which_file_it_looks_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display();
    fs::write(folder.path().join("a.css"), "body {}").unwrap();
    fs::write(folder.path().join("a.css.gz"), "packed").unwrap();
    let options = format!(r#""{root}""#);
    let explain = |target: &str, headers: &[(&'static str, &str)]| told::<Static>(&options, get(target, headers));
    assert_eq!(explain("/static/a.css", &[]), (vec![format!("looks for `{root}/a.css`: it exists")], Some(200), vec![]));
    let packed = explain("/static/a.css", &[("accept-encoding", "gzip")]);
    assert_eq!(packed.0, [format!("looks for `{root}/a.css`: it exists; the client accepts `gzip`, which is beside it")]);
    assert_eq!(explain("/static/b.css", &[]), (vec![format!("looks for `{root}/b.css`: there is no such file")], None, vec![]));
    assert_eq!(explain("/x", &[]).0, ["the path is not below `/static`"]);
    assert_eq!(told::<Static>(&options, of(Method::POST, "/static/a.css", &[])).0, ["passes on POST: files are for GET and HEAD"]);
    let app = |method, target: &str| TestStack::explain_app::<Static>(&options, of(method, target, &[])).answer.unwrap().status().as_u16();
    assert_eq!([app(Method::GET, "/a.css"), app(Method::GET, "/none"), app(Method::POST, "/a.css")], [200, 404, 405]);
    assert_eq!(<Static as App>::NAME, "static");
}

#[test]
fn sendfile_sends_the_file_of_a_known_response() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("report.txt"), "the report").unwrap();
    let options = format!(r#"{{ "at": "/protected", "root": "{}" }}"#, folder.path().display());
    let (notes, _) = back::<Sendfile>(&options, get("/", &[]), None);
    assert_eq!(notes, ["sends the file that `x-accel-redirect` or `x-sendfile` of the response names, if there is one"]);
    let names = |name: &str| {
        let mut response = text("");
        response.headers_mut().insert("x-accel-redirect", name.parse().unwrap());
        let (notes, response) = back::<Sendfile>(&options, get("/", &[]), Some(response));
        (notes[0].clone(), response.unwrap().status().as_u16())
    };
    assert_eq!(names("/protected/report.txt"), ("sends the file that the response names".to_owned(), 200));
    let (note, status) = names("/protected/none.txt");
    assert!(note.contains("/protected/none.txt") && status == 404, "{note}");
}
