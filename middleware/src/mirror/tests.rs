//! What the other server gets, and that the site never notices.

use std::sync::Mutex;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::task::yield_now;
use tower::service_fn;

use super::*;
use crate::{BoxError, Client, Problem, TestStack, request};

/// The other server: it notes what it gets.
#[derive(Clone, Default)]
struct Shadow(Arc<Mutex<Vec<(http::request::Parts, Bytes)>>>);

impl Shadow {
    fn client(&self) -> Client {
        let shadow = self.clone();
        Client::new(service_fn(move |copy: Request| {
            let shadow = shadow.clone();
            async move {
                let (parts, body) = copy.into_parts();
                let octets = body.collect().await?.to_bytes();
                shadow.0.lock().unwrap().push((parts, octets));
                Ok::<_, BoxError>(Problem::new(http::StatusCode::NOT_FOUND).into_response())
            }
        }))
    }

    /// The copies, as soon as there are so many.
    async fn copies(&self, count: usize) -> Vec<(http::request::Parts, Bytes)> {
        while self.0.lock().unwrap().len() < count {
            yield_now().await;
        }
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A server that never answers.
fn silent() -> Client {
    Client::new(service_fn(async |_: Request| std::future::pending::<Result<Response, BoxError>>().await))
}

fn stack(options: &str, client: Client) -> TestStack {
    TestStack::of::<Mirror>(options).host(client).over(async |request: Request| match request.into_body().collect().await {
        Ok(body) => Response::new(Body::from(body.to_bytes())),
        Err(error) => Problem::new(http::StatusCode::BAD_REQUEST).because(error).into_response(),
    })
}

fn pieces(pieces: &'static [&'static str]) -> Body {
    let frames = pieces.iter().map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from_static(piece.as_bytes()))));
    Body::new(StreamBody::new(stream::iter(frames)))
}

/// How often there was this outcome.
async fn counted(stack: &TestStack, outcome: &str, count: u64) {
    let line = format!("ziggurat_mirror_requests_total{{place=\"mirror\",outcome=\"{outcome}\"}} {count}");
    while !stack.metrics().contains(&line) {
        yield_now().await;
    }
}

#[tokio::test]
async fn the_other_server_gets_what_the_app_gets_and_a_mark() {
    let shadow = Shadow::default();
    let stack = stack(r#""http://10.0.0.6:8000""#, shadow.client());
    let answer = stack.request(Method::PUT, "/a%20b?c=d", pieces(&["one, ", "two"])).header("cookie", "a=b").header("te", "trailers").await;
    assert_eq!((answer.status().as_u16(), answer.text().as_str()), (200, "one, two"));
    let (parts, body) = shadow.copies(1).await.remove(0);
    assert_eq!(
        (&parts.method, parts.uri.to_string().as_str(), body.as_ref()),
        (&Method::PUT, "http://10.0.0.6:8000/a%20b?c=d", &b"one, two"[..])
    );
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!([header("host"), header("cookie"), header("x-mirrored"), header("te")], [Some("test"), Some("a=b"), Some("1"), None]);
    counted(&stack, "answered", 1).await;
}

#[tokio::test]
async fn bodies_at_hand_and_requests_without_one_are_copied_at_once() {
    let shadow = Shadow::default();
    let stack = TestStack::of::<Mirror>(r#""http://10.0.0.6:8000""#).host(shadow.client()).over_text("unread");
    stack.post("/", "at hand").await;
    stack.get("/").await;
    let bodies: Vec<Bytes> = shadow.copies(2).await.into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, ["at hand", ""]);
}

#[tokio::test]
async fn a_copy_says_that_it_has_no_body_where_the_request_does() {
    let shadow = Shadow::default();
    let stack = TestStack::of::<Mirror>(r#""http://10.0.0.6:8000""#).host(shadow.client()).over_text("unread");
    for (body, length) in [("", Some("0")), ("", None), ("abc", Some("3"))] {
        let request = stack.post("/", body);
        match length {
            Some(length) => request.header("content-length", length).await,
            None => request.await,
        };
        let (parts, _) = shadow.copies(1).await.remove(0);
        let told = parts.headers.get("content-length").map(|length| length.to_str().unwrap());
        assert_eq!(told, length.filter(|length| *length == "0"), "{body:?}");
    }
}

#[tokio::test]
async fn a_copy_is_not_copied_again() {
    let shadow = Shadow::default();
    let stack = stack(r#""http://10.0.0.6:8000""#, shadow.client());
    assert_eq!(stack.post("/", "copy").header("x-mirrored", "1").await.text(), "copy");
    stack.get("/request").await;
    let (parts, _) = shadow.copies(1).await.remove(0);
    assert_eq!(parts.uri.path(), "/request");
    counted(&stack, "answered", 1).await;
}

#[tokio::test]
async fn claims_of_proxies_go_on_only_where_they_are_vetted() {
    let shadow = Shadow::default();
    let stack = stack(r#""http://10.0.0.6:8000""#, shadow.client());
    stack.get("/").header("x-forwarded-for", "203.0.113.7").await;
    let (parts, _) = shadow.copies(1).await.remove(0);
    assert!(!parts.headers.contains_key("x-forwarded-for"));
}

#[tokio::test]
async fn a_server_that_is_silent_slows_nothing_and_room_is_bounded() {
    let stack = stack(r#"{ "to": "http://10.0.0.6:8000", "at_once": 2 }"#, silent());
    for _ in 0..5 {
        assert_eq!(stack.post("/", pieces(&["body"])).await.text(), "body");
    }
    counted(&stack, "busy", 3).await;
}

#[tokio::test(start_paused = true)]
async fn copies_that_take_too_long_make_room_and_are_summed_up_in_the_log() {
    let stack = stack(r#"{ "to": "http://10.0.0.6:8000", "at_once": 10, "timeout": "5s" }"#, silent());
    for _ in 0..20 {
        stack.get("/").await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    counted(&stack, "failed", 10).await;
    let log = stack.log();
    assert!(log.len() == 2 && log[0].contains("there was no answer within 5s") && log[1].contains("9 more copies"), "{log:?}");
    stack.get("/").await;
    counted(&stack, "busy", 10).await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_only_counted() {
    let refused = Client::new(service_fn(async |_: Request| Err::<Response, BoxError>("connection refused".into())));
    let stack = stack(r#""http://10.0.0.6:8000""#, refused);
    assert_eq!(stack.get("/").await.status(), 200);
    counted(&stack, "failed", 1).await;
    assert!(stack.log()[0].contains("a copy of a request failed: connection refused"), "{:?}", stack.log());
}

#[tokio::test]
async fn long_unread_and_broken_bodies_are_not_copied() {
    let shadow = Shadow::default();
    let options = r#"{ "to": "http://10.0.0.6:8000", "body": "8B" }"#;
    let reads = stack(options, shadow.client());
    assert_eq!(reads.post("/", pieces(&["eight oc", "tets"])).await.text(), "eight octets");
    assert_eq!(reads.post("/", "at hand and long").await.text(), "at hand and long");
    let broken = [Ok(Frame::data(Bytes::from_static(b"a"))), Err::<_, BoxError>("cut short".into())];
    assert_eq!(reads.post("/", Body::new(StreamBody::new(stream::iter(broken)))).await.status(), 400);
    counted(&reads, "body", 3).await;
    assert_eq!(reads.post("/", pieces(&["eight", " oc"])).await.text(), "eight oc");
    assert_eq!(shadow.copies(1).await[0].1, "eight oc");
    let leaves = TestStack::of::<Mirror>(options).host(shadow.client()).over_text("unread");
    leaves.post("/", pieces(&["a", "b"])).await;
    counted(&leaves, "body", 1).await;
}

#[test]
fn a_share_of_the_requests_is_chosen() {
    let chosen = |share: u8| (0..10_000).filter(|_| is_chosen(Percent(share))).count();
    // The bounds of 20 % are ten standard deviations away.
    assert!((1600..2400).contains(&chosen(20)), "{}", chosen(20));
    assert_eq!((chosen(0), chosen(100)), (0, 10_000));
}

#[tokio::test]
async fn tunnels_are_not_copied() {
    let shadow = Shadow::default();
    let stack = stack(r#""http://10.0.0.6:8000""#, shadow.client());
    let mut handshake = request(Method::GET, "/chat", Body::empty());
    handshake.extensions_mut().insert(Upgrade::new([HeaderValue::from_static("websocket")]));
    stack.send(handshake).await;
    stack.get("/page").await;
    assert_eq!(shadow.copies(1).await[0].0.uri.path(), "/page");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refusal = |options: &str| TestStack::refusal::<Mirror>(options).join("; ");
    for to in ["10.0.0.6:8000", "http://", "http://10.0.0.6:8000/", "http://10.0.0.6/app", "ftp://10.0.0.6", "http://u:p@10.0.0.6"] {
        assert!(refusal(&format!("\"{to}\"")).contains("is not the URL of a server"), "{to}");
    }
    let with = |option: &str| refusal(&format!(r#"{{ "to": "http://10.0.0.6:8000", {option} }}"#));
    assert!(with(r#""share": "0%""#).contains("no request is copied"));
    assert!(with(r#""share": "0.5%""#).contains("is not a share"));
    assert!(with(r#""at_once": 0"#).contains("cannot be under way"));
    assert!(with(r#""body": "1GiB""#).contains("too much for one copy"));
}
