//! Which responses get a page, and what stays of them.

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::request_id::AssignRequestId;
use crate::{Next, Problem, TestResponse, TestStack, TestStage, request};

/// A folder with pages, and the options of a layer over it.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("404.html", "<h1>{status} {reason}</h1><p>{detail}</p><style>h1 { color: red }</style>"),
            ("oops.html", "<p>Quote <b>{request_id}</b>.</p>"),
            ("plain.html", "<p>Sorry.</p>"),
            ("error.json", r#"{"error": "{detail}", "of": "{request_id}"}"#),
            ("text.txt", "{status} <{detail}>"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn options(&self, pages: &[(&str, &str)], of: &str) -> String {
        let pages: BTreeMap<_, _> = pages.iter().map(|(status, name)| (*status, self.0.path().join(name))).collect();
        json!({ "pages": pages, "of": of }).to_string()
    }

    fn layer(&self, pages: &[(&str, &str)]) -> TestStage {
        TestStack::of::<Errors>(&self.options(pages, "server"))
    }
}

/// Below which every request is refused like this by a layer or the server.
fn refusing(stage: TestStage, problem: impl Fn() -> Problem + Clone + Send + Sync + 'static) -> TestStack {
    stage.over_next(Next::new(
        "refusal",
        tower::service_fn(move |_: Request| {
            let problem = problem();
            async move { Err::<Response, _>(problem) }
        }),
    ))
}

fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND).detail("no <such> page")
}

/// An app's own 404.
async fn own_page(_: Request) -> Response {
    let mut response = Response::new(Body::from("own page"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    for (name, value) in
        [("content-type", "text/plain"), ("etag", "\"a\""), ("content-encoding", "gzip"), ("content-length", "8"), ("set-cookie", "a=1")]
    {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn parts(response: &TestResponse) -> (u16, &str, String) {
    (response.status().as_u16(), response.header("content-type"), response.text())
}

#[tokio::test]
async fn an_error_of_the_server_gets_the_page_of_its_status() {
    let site = Site::new();
    let response = refusing(site.layer(&[("404", "404.html"), ("4xx", "plain.html")]), not_found).get("/").await;
    let page = "<h1>404 Not Found</h1><p>no &lt;such&gt; page</p><style>h1 { color: red }</style>";
    assert_eq!(parts(&response), (404, "text/html; charset=utf-8", page.to_owned()));
    assert_eq!(
        (response.header("content-length"), response.header("vary"), response.header("cache-control")),
        (&*page.len().to_string(), "accept", "")
    );
}

#[tokio::test]
async fn a_status_without_a_page_of_its_own_has_that_of_its_class_or_stays() {
    let site = Site::new();
    let stack = |status| refusing(site.layer(&[("404", "404.html"), ("5xx", "plain.html")]), move || Problem::new(status));
    assert_eq!(stack(StatusCode::BAD_GATEWAY).get("/").await.text(), "<p>Sorry.</p>");
    assert_eq!(stack(StatusCode::FORBIDDEN).get("/").await.text(), "403 Forbidden\n");
}

#[tokio::test]
async fn a_panic_and_a_failure_get_a_page_and_their_cause_stays_in_the_log() {
    let site = Site::new();
    let stack = site.layer(&[("5xx", "plain.html")]).over(async |_| panic!("secret"));
    assert_eq!(parts(&stack.get("/").await), (500, "text/html; charset=utf-8", "<p>Sorry.</p>".to_owned()));
    assert_eq!(stack.log(), ["ERROR request=GET / place=app status=500 panicked: secret"]);
}

#[tokio::test]
async fn an_apps_own_page_is_left_alone_unless_all_are_asked_for() {
    let site = Site::new();
    let pages = [("404", "404.html")];
    let response = site.layer(&pages).over(own_page).get("/").await;
    assert_eq!((response.text().as_str(), response.header("etag"), response.header("vary")), ("own page", "\"a\"", ""));
    let response = TestStack::of::<Errors>(&site.options(&pages, "all")).over(own_page).get("/").await;
    assert!(response.text().starts_with("<h1>404 Not Found</h1><p></p>"));
    for name in ["etag", "content-encoding"] {
        assert_eq!(response.header(name), "", "{name}");
    }
    assert_eq!((response.header("set-cookie"), response.header("content-length")), ("a=1", &*response.text().len().to_string()));
}

#[tokio::test]
async fn successes_and_redirects_are_never_replaced() {
    let site = Site::new();
    let all = site.options(&[("4xx", "404.html"), ("5xx", "oops.html")], "all");
    for status in [200, 204, 301, 304] {
        let stack = TestStack::of::<Errors>(&all).over(move |_| async move {
            let mut response = Response::new(Body::from("as it was"));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        });
        assert_eq!(stack.get("/").await.text(), "as it was");
    }
}

#[tokio::test]
async fn headers_that_say_what_to_do_stay() {
    let site = Site::new();
    let problem = || {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).header(http::header::RETRY_AFTER, HeaderValue::from_static("60"));
        problem.header(http::header::ALLOW, HeaderValue::from_static("GET"))
    };
    let response = refusing(site.layer(&[("5xx", "plain.html")]), problem).get("/").await;
    assert_eq!((response.header("retry-after"), response.header("allow")), ("60", "GET"));
    assert_eq!(response.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_page_that_names_the_request_is_not_stored_and_a_stated_policy_stays() {
    let site = Site::new();
    let stage = TestStack::of::<AssignRequestId>("null").then::<Errors>(&site.options(&[("404", "oops.html")], "server"));
    let response = refusing(stage, not_found).get("/").await;
    assert_eq!(response.text(), format!("<p>Quote <b>{}</b>.</p>", response.header("x-request-id")));
    assert_eq!(response.header("cache-control"), "no-store");
    let problem = || Problem::new(StatusCode::BAD_GATEWAY).header(CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
    assert_eq!(refusing(site.layer(&[("5xx", "plain.html")]), problem).get("/").await.header("cache-control"), "max-age=1");
}

#[tokio::test]
async fn a_client_that_prefers_json_gets_problem_details_or_the_apps_answer() {
    let site = Site::new();
    let pages = [("404", "404.html")];
    let response = refusing(site.layer(&pages), not_found).get("/").header("accept", "application/json, */*").await;
    let details = r#"{"title":"Not Found","status":404,"detail":"no <such> page"}"#;
    assert_eq!(parts(&response), (404, "application/problem+json", details.to_owned()));
    let own = TestStack::of::<Errors>(&site.options(&pages, "all")).over(own_page).get("/").header("accept", "application/json").await;
    assert_eq!((own.text().as_str(), own.header("vary"), own.header("etag")), ("own page", "accept", "\"a\""));
    let text = refusing(site.layer(&pages), not_found).get("/").header("accept", "text/plain").await;
    assert_eq!(parts(&text), (404, "text/plain; charset=utf-8", "404 Not Found\nno <such> page\n".to_owned()));
}

#[tokio::test]
async fn values_are_escaped_as_the_pages_name_says() {
    let site = Site::new();
    let json = refusing(site.layer(&[("404", "error.json")]), || Problem::new(StatusCode::NOT_FOUND).detail("a \"b\"\n")).get("/").await;
    assert_eq!(json.text(), r#"{"error": "a \"b\"\n", "of": ""}"#);
    assert_eq!(refusing(site.layer(&[("404", "text.txt")]), not_found).get("/").await.text(), "404 <no <such> page>");
}

#[tokio::test]
async fn the_layer_nearest_to_the_error_decides() {
    let site = Site::new();
    let outer = TestStack::of::<Errors>(&site.options(&[("404", "404.html"), ("5xx", "404.html")], "all"));
    let stack = refusing(outer.then::<Errors>(&site.options(&[("404", "plain.html")], "server")), not_found);
    assert_eq!(stack.get("/").await.text(), "<p>Sorry.</p>");
}

#[tokio::test]
async fn a_head_has_the_headers_of_the_page() {
    let site = Site::new();
    let response = refusing(site.layer(&[("404", "plain.html")]), not_found).send(request(Method::HEAD, "/", "")).await;
    assert_eq!((response.header("content-length"), response.header("content-type")), ("13", "text/html; charset=utf-8"));
}

#[test]
fn pages_that_cannot_be_used_are_refused_with_their_reason() {
    let site = Site::new();
    let file = |name: &str, octets: &[u8]| std::fs::write(site.0.path().join(name), octets).unwrap();
    file("latin.html", b"caf\xe9");
    file("long.html", &vec![b'a'; (1 << 20) + 1]);
    file("name", b"text");
    for (name, reason) in [
        ("none.html", "No such file"),
        (".", "is no regular file"),
        ("latin.html", "is not UTF-8"),
        ("long.html", "is longer than 1 MiB"),
        ("name", "tells no media type"),
    ] {
        let refusal = TestStack::refusal::<Errors>(&site.options(&[("404", name)], "server"));
        assert!(refusal.len() == 1 && refusal[0].contains(reason), "{refusal:?}");
    }
    assert_eq!(TestStack::refusal::<Errors>(r#"{"pages": {}}"#).len(), 1);
    for status in ["200", "4XX", "600", "40", ""] {
        let refusal = TestStack::refusal::<Errors>(&site.options(&[(status, "404.html")], "server"));
        assert!(refusal[0].contains("is no status of an error"), "{refusal:?}");
    }
}

proptest! {
    #[test]
    fn a_page_without_gaps_is_the_file_and_every_gap_is_filled(parts in prop::collection::vec(r"[^{}]{0,4}|\{|\}|\{status\}|\{other\}", 0..10)) {
        let folder = tempfile::tempdir().unwrap();
        let (path, text) = (folder.path().join("a.html"), parts.concat());
        std::fs::write(&path, &text).unwrap();
        let values = Values { status: StatusCode::NOT_FOUND, detail: "", id: "" };
        let body = Page::read(&path).unwrap().fill(&values);
        prop_assert_eq!(std::str::from_utf8(body.as_full().unwrap()).unwrap(), text.replace("{status}", "404"));
    }
}
