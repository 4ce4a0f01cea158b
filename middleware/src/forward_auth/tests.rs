//! `forward_auth` in a stack, over doubles of the server that decides.

use std::sync::Mutex;

use http::Method;
use proptest::prelude::*;
use tower::service_fn;

use super::*;
use crate::{Authenticated, Body, ConnectionInfo, RemoteUser, Scheme, TestStack, cache};

type Asked = Arc<Mutex<Vec<Request>>>;

/// A client of a server that answers so, and what it was asked.
fn server(answer: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static) -> (Client, Asked) {
    let asked = Asked::default();
    let questions = Arc::clone(&asked);
    let client = Client::new(service_fn(move |question: Request| {
        let response = answer(&question);
        questions.lock().unwrap().push(question);
        async move { Ok::<_, BoxError>(response) }
    }));
    (client, asked)
}

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    response
}

/// Over an app that says what it was told.
fn stack(more: &str, client: Client) -> TestStack {
    let options = format!(r#"{{ "to": "http://auth.test/check?a=1"{more} }}"#);
    TestStack::of::<ForwardAuth>(&options).host(client).over(async |request: Request| {
        let user = request.extensions().get::<RemoteUser>().map(|user| format!("{} by {}", user.user, user.auth_type));
        let groups: Vec<_> = request.headers().get_all("remote-groups").iter().map(|value| value.to_str().unwrap()).collect();
        let named = request.headers().contains_key("remote-user");
        Response::new(Body::from(format!("{user:?} {groups:?} {named}")))
    })
}

#[tokio::test]
async fn a_server_on_a_unix_socket_is_asked_there() {
    let (client, asked) = server(|_| answer(204, &[], ""));
    let stack = TestStack::of::<ForwardAuth>(r#""unix:/run/auth.sock:/check?a=1""#).host(client).over(async |_| answer(200, &[], "in"));
    assert_eq!(stack.get("/page").await.text(), "in");
    let question = asked.lock().unwrap().pop().unwrap();
    assert_eq!(question.uri(), "http://localhost/check?a=1");
    assert_eq!(question.extensions().get::<UnixSocket>().unwrap().0.to_str(), Some("/run/auth.sock"));
    assert_eq!(question.headers()["x-forwarded-uri"], "/page");
}

const IDENTITY: &str = r#", "user": "remote-user", "response_headers": "remote-groups""#;

#[tokio::test]
async fn what_the_server_lets_pass_reaches_the_app_with_its_user_and_headers_and_the_client_gets_its_cookies() {
    let headers = &[("remote-user", "ann"), ("remote-groups", "a"), ("remote-groups", "b"), ("set-cookie", "s=1"), ("x-other", "1")];
    let (client, asked) = server(|_| answer(204, headers, ""));
    let stack = stack(IDENTITY, client);
    let response = stack.get("/").header("remote-user", "root").header("remote-groups", "admin").await;
    assert_eq!(response.text(), r#"Some("ann by ForwardAuth") ["a", "b"] false"#);
    assert_eq!((response.header("set-cookie"), response.headers().contains_key("x-other")), ("s=1", false));
    assert_eq!(&*response.head().extensions().get::<RemoteUser>().unwrap().user, "ann");
    assert_eq!(asked.lock().unwrap().len(), 1);
    assert!(stack.metrics().contains("ziggurat_auth_decisions_total{place=\"forward_auth\",decision=\"allowed\"} 1\n"));
}

#[tokio::test]
async fn the_question_is_a_get_without_a_body_that_tells_about_the_request_and_the_client() {
    let (client, asked) = server(|_| answer(200, &[], "yes"));
    let stack = stack("", client);
    let connection = ConnectionInfo {
        client: Some([203, 0, 113, 7].into()),
        client_port: None,
        scheme: Scheme::Https,
        server_port: None,
        local: None,
        is_vetted: true,
    };
    let request = stack.post("/a/b?c=d", "a body").fact(connection).fact(crate::OriginalUri("/before?x=1".parse().unwrap()));
    let request = request.header("cookie", "sid=1").header("authorization", "Bearer t").header("x-forwarded-for", "198.51.100.1");
    let request = request.header("content-type", "text/plain").header("content-length", "6").header("range", "bytes=0-1");
    let request = request.header("if-none-match", "\"x\"").header("te", "trailers").header("expect", "100-continue");
    assert_eq!(request.header("x-forwarded-uri", "/public").header("x-real-ip", "10.0.0.1").await.status(), 200);
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    let [question] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((question.method(), question.uri().to_string().as_str()), (&Method::GET, "http://auth.test/check?a=1"));
    let mut headers: Vec<String> = question.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    headers.retain(|line| !line.starts_with("via: 1.1 ziggurat-"));
    headers.sort();
    let expected = [
        "authorization: Bearer t",
        "cookie: sid=1",
        "x-forwarded-for: 203.0.113.7",
        "x-forwarded-host: test",
        "x-forwarded-method: POST",
        "x-forwarded-proto: https",
        "x-forwarded-uri: /before?x=1",
    ];
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn only_the_headers_that_are_named_go_along() {
    let (client, asked) = server(|_| answer(200, &[], ""));
    stack(r#", "request_headers": ["Cookie"]"#, client).get("/").header("cookie", "a=1").header("authorization", "x").await;
    let asked = asked.lock().unwrap();
    assert!(asked[0].headers().contains_key("cookie") && !asked[0].headers().contains_key("authorization"));
    assert_eq!(asked[0].headers()["x-forwarded-uri"], "/");
}

#[tokio::test]
async fn a_refusal_or_a_redirect_reaches_the_client_with_its_body_and_the_app_is_not_called() {
    for status in [401, 403, 302, 303, 307, 308] {
        let headers = &[
            ("location", "https://auth.test/login"),
            ("www-authenticate", "Basic"),
            ("set-cookie", "s=1"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
        ];
        let (client, _) = server(move |_| answer(status, headers, "log in"));
        let stack = stack("", client);
        let response = stack.get("/").await;
        assert_eq!((response.status().as_u16(), response.text()), (status, "log in".to_owned()));
        assert_eq!((response.header("location"), response.header("set-cookie")), ("https://auth.test/login", "s=1"));
        assert!(!response.headers().contains_key("connection") && !response.headers().contains_key("x-hop"));
        let decision = if status == 403 { "forbidden" } else { "invalid" };
        assert!(stack.metrics().contains(&format!("decision=\"{decision}\"}} 1\n")), "{}", stack.metrics());
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_decision_nobody_is_let_in_unless_the_file_says_so() {
    let silent = Client::new(service_fn(async |_: Request| std::future::pending::<Result<Response, BoxError>>().await));
    let gone = Client::new(service_fn(async |_: Request| Err::<Response, _>(BoxError::from("connection refused"))));
    for (client, status) in
        [(silent, 503), (gone, 503), (server(|_| answer(500, &[], "")).0, 502), (server(|_| answer(404, &[], "")).0, 502)]
    {
        let refusing = stack(IDENTITY, client.clone());
        let refused = refusing.get("/").await;
        assert_eq!(refused.status(), status);
        assert_eq!(refused.headers().contains_key("retry-after"), status == 503);
        assert!(refusing.log()[0].contains("`http://auth.test/check?a=1`"), "{:?}", refusing.log());
        let open = stack(&format!(r#"{IDENTITY}, "on_failure": "allow""#), client);
        assert_eq!(open.get("/").header("remote-user", "root").header("remote-groups", "admin").await.text(), "None [] false");
        assert!(open.log()[0].contains("the request passes"), "{:?}", open.log());
        assert!(open.metrics().contains("decision=\"unavailable\"} 1\n"), "{}", open.metrics());
    }
}

#[tokio::test]
async fn a_page_for_one_client_does_not_get_into_a_cache_below_whether_its_user_has_a_name_or_not() {
    for (more, is_named) in [(IDENTITY, true), (r#", "response_headers": "remote-groups""#, false), ("", false)] {
        for public in [false, true] {
            let (client, _) = server(|_| answer(200, &[("remote-user", "ann"), ("remote-groups", "a")], ""));
            let options = format!(r#"{{ "to": "http://auth.test/check"{more} }}"#);
            let stack =
                TestStack::of::<ForwardAuth>(&options).host(client).then::<cache::Cache>("{}").over(move |request: Request| async move {
                    let facts = request.extensions();
                    assert_eq!((facts.get::<RemoteUser>().is_some(), facts.get::<Authenticated>().is_some()), (is_named, !is_named));
                    answer(200, &[("cache-control", if public { "public, max-age=60" } else { "max-age=60" })], "page")
                });
            stack.get("/").await;
            assert_eq!(stack.get("/").await.header("cache-status").contains("hit"), public, "{more}");
        }
    }
    // Nothing is known of a client that passes without a decision.
    let gone = Client::new(service_fn(async |_: Request| Err::<Response, _>(BoxError::from("connection refused"))));
    let options = r#"{ "to": "http://auth.test/check", "on_failure": "allow" }"#;
    let open = TestStack::of::<ForwardAuth>(options).host(gone).over(async |request: Request| {
        assert!(request.extensions().get::<Authenticated>().is_none());
        answer(200, &[], "page")
    });
    assert_eq!(open.get("/").await.text(), "page");
}

#[test]
fn an_explained_request_that_passes_is_of_a_client_who_is_known() {
    let options = r#"{ "to": "http://auth.test/check" }"#;
    let explained = TestStack::explain::<ForwardAuth>(options, crate::request(Method::GET, "/", Body::empty()));
    assert!(explained.request.extensions().get::<Authenticated>().is_some());
}

#[tokio::test]
async fn a_server_behind_the_layer_that_asks_it_fails_at_once() {
    let slot = Arc::new(Mutex::new(None::<TestStack>));
    let itself = Arc::clone(&slot);
    let client = Client::new(service_fn(move |question: Request| {
        let stack = itself.lock().unwrap().clone().unwrap();
        async move { Ok::<_, BoxError>(stack.call(question).await) }
    }));
    *slot.lock().unwrap() = Some(stack(r#", "request_headers": []"#, client));
    let stack = slot.lock().unwrap().clone().unwrap();
    assert_eq!(stack.get("/").await.status(), 502);
    let log = stack.log();
    assert!(log.len() == 2 && log[0].contains("stands behind the layer"), "{log:?}");
    slot.lock().unwrap().take();
}

#[tokio::test(start_paused = true)]
async fn the_same_is_not_asked_twice_while_the_decision_is_cached() {
    let (client, asked) = server(|question| match question.headers().get("cookie").map(HeaderValue::as_bytes) {
        Some(b"sid=1") => answer(200, &[("remote-user", "ann"), ("remote-groups", "a")], ""),
        Some(b"sid=2") => answer(200, &[("remote-user", "ben"), ("set-cookie", "sid=3")], ""),
        Some(b"sid=4") => answer(200, &[("remote-user", "cat"), ("cache-control", "private, no-store")], ""),
        _ => answer(401, &[], "no"),
    });
    let stack = stack(&format!(r#"{IDENTITY}, "cache": "10s", "request_headers": "cookie""#), client);
    let ask = async |target: &str, cookie: &str| {
        let before = asked.lock().unwrap().len();
        let response = stack.get(target).header("cookie", cookie).header("user-agent", target).await;
        (response.text().to_owned(), asked.lock().unwrap().len() - before)
    };
    let ann = r#"Some("ann by ForwardAuth") ["a"] false"#.to_owned();
    assert_eq!(ask("/", "sid=1").await, (ann.clone(), 1));
    assert_eq!(ask("/", "sid=1").await, (ann.clone(), 0));
    assert_eq!(ask("/other", "sid=1").await, (ann.clone(), 1), "another target is another question");
    for cookie in ["sid=2", "sid=4", "sid=9"] {
        assert_eq!((ask("/", cookie).await.1, ask("/", cookie).await.1), (1, 1), "{cookie}");
    }
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    assert_eq!(ask("/", "sid=1").await, (ann, 1), "the time is over");
    assert!(stack.metrics().contains("ziggurat_forward_auth_cached_total{place=\"forward_auth\"} 1\n"), "{}", stack.metrics());
    assert_eq!(stack.lifecycle().status()[0].1["cached"], 2);
}

#[test]
fn options_that_cannot_be_meant_are_refused() {
    let refusal = |options: &str| TestStack::refusal::<ForwardAuth>(options).join("; ");
    for url in ["auth.test/check", "/check", "ftp://auth.test/", "http://ann:secret@auth.test/", ""] {
        assert!(refusal(&format!("\"{url}\"")).contains("hint") || refusal(&format!("\"{url}\"")).contains("write a whole URL"), "{url}");
    }
    assert!(refusal(r#"{ "to": "http://a.test", "timeout": "0s" }"#).contains("no time"));
    for header in ["content-length", "Connection", "host", "transfer-encoding"] {
        let said = refusal(&format!(r#"{{ "to": "http://a.test", "response_headers": "{header}", "user": "{header}" }}"#));
        assert!(said.matches("is about the connection or the body").count() == 2, "{said}");
    }
    assert!(
        refusal(r#"{ "to": "http://a.test", "response_headers": "x_email", "user": "x_user" }"#)
            .starts_with("an app does not get `x_email`")
    );
    assert!(refusal(r#"{ "to": "http://a.test", "cache": "2h" }"#).contains("more than an hour"));
    assert!(refusal(r#""http://a.test""#).contains("no HTTP client"));
}

proptest! {
    /// Whatever a client sends, no header that only the server may set comes from it, and the question is one of the layer.
    #[test]
    fn a_client_cannot_say_who_it_is(lines in prop::collection::vec(("(remote-user|remote-groups|cookie|x-forwarded-uri|via|connection)", prop::collection::vec(any::<u8>(), 0..30)), 0..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, asked) = server(|_| answer(200, &[("remote-groups", "a")], ""));
            let stack = stack(IDENTITY, client);
            let mut request = crate::request(Method::GET, "/", Body::empty());
            for (name, value) in &lines {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    request.headers_mut().append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
                }
            }
            assert_eq!(stack.send(request).await.text(), r#"None ["a"] false"#);
            assert_eq!(asked.lock().unwrap()[0].headers()["x-forwarded-uri"], "/");
        });
    }
}
