//! What the app gets of a body, and what is left of the bounds afterwards.

use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;
use crate::{Body, Problem, TestStack, request};

type Part = Result<Frame<Bytes>, BoxError>;

fn data(octets: impl Into<Bytes>) -> Part {
    Ok(Frame::data(octets.into()))
}

/// A body that comes in these parts.
fn parts(parts: Vec<Part>) -> Body {
    Body::new(StreamBody::new(stream::iter(parts)))
}

fn post(body: Body) -> Request {
    request(Method::POST, "/", body)
}

/// Answers with what it sees: the stated length, whether all is at hand, the content, trailers as `name`.
fn stack(options: &str) -> TestStack {
    TestStack::of::<Buffer>(options).over(async |request: Request| {
        let (head, body) = request.into_parts();
        let stated = head.headers.get(CONTENT_LENGTH).map_or("none", |length| length.to_str().unwrap()).to_owned();
        let (in_memory, hint) = (body.as_full().is_some(), body.size_hint().exact());
        let body = body.collect().await.unwrap();
        let trailers: Vec<_> = body.trailers().into_iter().flat_map(HeaderMap::keys).map(ToString::to_string).collect();
        let content = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        assert!(hint.is_none_or(|length| length == content.len() as u64));
        Response::new(Body::from(format!("{stated} {} {content} {}", if in_memory { "memory" } else { "file" }, trailers.join(","))))
    })
}

/// Octets of memory and of disk that bodies take.
fn in_use(stack: &TestStack) -> [u64; 2] {
    let metrics = stack.metrics();
    ["memory", "disk"].map(|what| {
        let name = format!("ziggurat_buffer_{what}_bytes{{place=\"buffer\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    })
}

const SMALL: &str = r#"{"memory": "8B", "limit": "32B", "total_memory": "16B", "total_disk": "64B"}"#;

#[tokio::test]
async fn a_body_in_chunks_has_a_length_and_is_at_hand() {
    let stack = stack(SMALL);
    let mut chunked = post(parts(vec![data("abc"), data("de")]));
    chunked.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    assert_eq!(stack.send(chunked).await.text(), "5 memory abcde ");
    assert_eq!(stack.send(post(parts(vec![]))).await.text(), "0 memory  ");
    assert_eq!(stack.send(post(Body::from("1234567890"))).await.text(), "none memory 1234567890 ");
    assert_eq!(in_use(&stack), [0, 0]);
}

#[tokio::test]
async fn a_longer_body_is_in_a_file_without_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().to_owned();
    let options = format!(r#"{{"memory": "8B", "folder": "{}"}}"#, seen.display());
    let stack = TestStack::of::<Buffer>(&options).over(move |request: Request| {
        let names = std::fs::read_dir(&seen).unwrap().count();
        async move {
            let content = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(Body::from(format!("{names} {}", String::from_utf8_lossy(&content))))
        }
    });
    assert_eq!(stack.send(post(parts(vec![data("12345"), data("67890"), data("x")]))).await.text(), "0 1234567890x");
}

#[tokio::test]
async fn a_body_over_the_limit_never_reaches_the_app() {
    let stack = TestStack::of::<Buffer>(SMALL).over(async |_| panic!("reached"));
    let mut announced = post(Body::new(StreamBody::new(stream::once(pending::<Part>()))));
    announced.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("33"));
    let streamed = post(parts(vec![data([b'a'; 32].to_vec()), data("b")]));
    for request in [announced, streamed, post(Body::from([b'a'; 33].to_vec()))] {
        let refused = stack.send(request).await;
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(refused.text().contains("over 32B"), "{}", refused.text());
    }
    assert_eq!(in_use(&stack), [0, 0]);
}

#[tokio::test]
async fn trailers_are_kept_and_the_length_is_then_unstated() {
    let trailers = || Ok(Frame::trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("1"))])));
    let stack = stack(SMALL);
    assert_eq!(stack.send(post(parts(vec![data("abc"), trailers()]))).await.text(), "none file abc x-sum");
    assert_eq!(stack.send(post(parts(vec![data("0123456789"), trailers()]))).await.text(), "none file 0123456789 x-sum");
    assert_eq!(in_use(&stack), [0, 0]);
}

#[tokio::test]
async fn a_body_that_breaks_off_never_reaches_the_app() {
    let stack = TestStack::of::<Buffer>(SMALL).over(async |_| panic!("reached"));
    let late = || Err(Problem::new(StatusCode::REQUEST_TIMEOUT).into());
    for body in [vec![data("a"), late()], vec![data("0123456789"), late()]] {
        assert_eq!(stack.send(post(parts(body))).await.status(), StatusCode::REQUEST_TIMEOUT);
    }
    assert_eq!(in_use(&stack), [0, 0]);
}

/// A body that has sent this and then waits.
fn stalled(sent: &'static str) -> Body {
    Body::new(StreamBody::new(stream::iter([data(sent)]).chain(stream::once(pending::<Part>()))))
}

#[tokio::test]
async fn what_a_client_has_sent_is_gone_when_it_leaves() {
    let stack = TestStack::of::<Buffer>(SMALL).over(async |_| panic!("reached"));
    for (sent, taken) in [("abc", [8, 0]), ("0123456789", [0, 10])] {
        let mut waiting = Box::pin(stack.call(post(stalled(sent))));
        while in_use(&stack) != taken {
            assert!(futures_util::poll!(&mut waiting).is_pending());
            tokio::task::yield_now().await;
        }
        drop(waiting);
        // A write that is under way ends first.
        while in_use(&stack) != [0, 0] {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn bodies_go_to_files_when_the_memory_of_all_is_used_up() {
    let stack = stack(SMALL);
    let mut waiting = [0, 1].map(|_| Box::pin(stack.call(post(stalled("abc")))));
    for request in &mut waiting {
        assert!(futures_util::poll!(request).is_pending());
    }
    assert_eq!(in_use(&stack), [16, 0]);
    assert_eq!(stack.send(post(parts(vec![data("ab"), data("c")]))).await.text(), "3 file abc ");
    drop(waiting);
    assert_eq!(stack.send(post(parts(vec![data("ab"), data("c")]))).await.text(), "3 memory abc ");
}

#[tokio::test]
async fn bodies_are_refused_when_the_disk_of_all_is_used_up_and_taken_again_later() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&held);
    let stack = TestStack::of::<Buffer>(SMALL).over(move |request: Request| {
        keep.lock().unwrap().push(request.into_body());
        async { Response::new(Body::empty()) }
    });
    let long = || post(parts(vec![data([b'a'; 30].to_vec())]));
    assert_eq!((stack.send(long()).await.status(), stack.send(long()).await.status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!(in_use(&stack), [0, 60]);
    let refused = stack.send(long()).await;
    assert_eq!((refused.status(), refused.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "10"));
    assert_eq!(
        stack.log(),
        ["ERROR request=POST / place=buffer status=503 request bodies take 64B of disk already, which is `total_disk`"]
    );
    held.lock().unwrap().clear();
    assert_eq!(in_use(&stack), [0, 0]);
    assert_eq!(stack.send(long()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn memory_is_in_use_as_long_as_somebody_holds_the_octets() {
    let (sender, receiver) = oneshot::channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let stack = TestStack::of::<Buffer>(SMALL).over(move |request: Request| {
        let sender = sender.lock().unwrap().take().unwrap();
        async move {
            let octets = request.into_body().collect().await.unwrap().to_bytes();
            sender.send(octets.slice(1..2)).unwrap();
            Response::new(Body::empty())
        }
    });
    stack.send(post(parts(vec![data("abc")]))).await;
    let held = receiver.await.unwrap();
    assert_eq!((in_use(&stack), &*held), ([8, 0], &b"b"[..]));
    drop(held);
    assert_eq!(in_use(&stack), [0, 0]);
}

#[tokio::test]
async fn a_client_that_waited_for_its_turn_has_had_it() {
    let stack = TestStack::of::<Buffer>("null").over(async |request: Request| {
        assert!(!request.headers().contains_key(EXPECT));
        Response::new(request.into_body())
    });
    let mut request = post(parts(vec![data("abc")]));
    request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
    assert_eq!(stack.send(request).await.text(), "abc");
}

#[tokio::test]
async fn tunnels_and_requests_without_a_body_pass_at_once() {
    let stack = TestStack::of::<Buffer>(SMALL).over_text("passed");
    assert_eq!(stack.send(request(Method::CONNECT, "test:80", stalled(""))).await.text(), "passed");
    assert_eq!(stack.get("/").await.text(), "passed");
}

#[test]
fn bounds_that_do_not_fit_together_are_refused() {
    for options in [
        r#""0B""#,
        r#"{"memory": "2GiB", "total_memory": "4GiB"}"#,
        r#"{"memory": "1MiB", "total_memory": "64KiB"}"#,
        r#"{"response": "128MiB"}"#,
        r#"{"limit": "2GiB"}"#,
        r#"{"folder": "no/such/folder"}"#,
    ] {
        assert_eq!(TestStack::refusal::<Buffer>(options).len(), 1, "{options}");
    }
}

/// A stack whose app answers with `n` frames of 100 octets and a trailer, and the number of frames that were read of it.
fn answering(options: &str, n: usize) -> (TestStack, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let stack = TestStack::of::<Buffer>(options).over(move |_: Request| {
        let count = Arc::clone(&count);
        let frames = stream::iter(0..n).map(move |nth| {
            count.store(nth + 1, SeqCst);
            data(vec![b'a' + (nth % 26) as u8; 100])
        });
        let trailers = Ok(Frame::trailers(HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))])));
        std::future::ready(Response::new(Body::new(StreamBody::new(frames.chain(stream::iter([trailers]))))))
    });
    (stack, read)
}

/// Waits until the task that reads ahead has nothing to do.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_response_is_read_ahead_as_far_as_there_is_room_and_arrives_whole() {
    for (response, ahead) in [("1KiB", 11), ("100KiB", 50), ("0B", 0)] {
        let (stack, read) = answering(&format!(r#"{{ "response": "{response}" }}"#), 50);
        let mut body = stack.call(request(Method::GET, "/", Body::empty())).await.into_body();
        settle().await;
        // Those in the room, and the one that waits for room.
        assert_eq!(read.load(SeqCst), ahead, "{response}");
        if ahead == 11 {
            body.frame().await.unwrap().unwrap();
            settle().await;
            assert_eq!(read.load(SeqCst), 12);
        }
        let rest = body.collect().await.unwrap();
        assert_eq!(rest.trailers().unwrap()[http::header::ETAG], "x");
        assert_eq!(rest.to_bytes().len(), if ahead == 11 { 4_900 } else { 5_000 });
    }
}

#[tokio::test]
async fn memory_for_responses_is_bounded_and_comes_back_when_the_client_leaves() {
    let (stack, read) = answering(r#"{ "memory": "1KiB", "response": "1KiB", "total_memory": "2KiB" }"#, 1_000_000);
    let ask = async || stack.call(request(Method::GET, "/", Body::empty())).await.into_body();
    let (first, second) = (ask().await, ask().await);
    settle().await;
    assert_eq!(in_use(&stack), [2048, 0]);
    // The third passes as it is.
    read.store(0, SeqCst);
    let third = ask().await;
    settle().await;
    assert_eq!(read.load(SeqCst), 0);
    drop((first, second, third));
    settle().await;
    assert_eq!(in_use(&stack), [0, 0]);
}

#[tokio::test]
async fn a_response_that_fails_fails_for_the_client_after_what_came_before() {
    let stack = TestStack::of::<Buffer>(r#"{ "response": "1KiB" }"#)
        .over(async |_: Request| Response::new(parts(vec![data("begun"), Err("the app failed".into())])));
    let mut body = stack.call(request(Method::GET, "/", Body::empty())).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
    assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "the app failed");
}

proptest! {
    /// However a body is cut, the app reads what was sent.
    #[test]
    fn no_octet_is_lost_or_moved(sent in prop::collection::vec(prop::collection::vec(b'a'..=b'z', 0..9), 0..8), memory in 0..20_u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let whole = String::from_utf8(sent.concat()).unwrap();
        let text = runtime.block_on(async {
            let stack = stack(&format!(r#"{{"memory": "{memory}B"}}"#));
            let text = stack.send(post(parts(sent.into_iter().map(data).collect()))).await.text();
            assert_eq!(in_use(&stack), [0, 0]);
            text
        });
        let place = if whole.len() as u64 <= u64::from(memory) { "memory" } else { "file" };
        prop_assert_eq!(text, format!("{} {place} {whole} ", whole.len()));
    }
}
