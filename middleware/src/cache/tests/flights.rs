//! Requests that come together, clients that leave, and apps that fail meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, poll_immediate};
use http::{HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::cache::Cache;
use crate::compress::Compress;
use crate::{Body, BoxError, Request, Response, TestResponse, TestStack, request};

/// How long the app takes.
const CALL: Duration = Duration::from_secs(2);

fn response(control: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert("cache-control", HeaderValue::from_static(control));
    response
}

/// An app that takes its time, with the number of its calls, and of those that were not cancelled.
fn slow(options: &str, control: &'static str) -> (TestStack, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (calls, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, finished) = (Arc::clone(&calls), Arc::clone(&done));
    let stack = TestStack::of::<Cache>(options).over(move |_| {
        let (call, finished) = (counted.fetch_add(1, SeqCst) + 1, Arc::clone(&finished));
        async move {
            sleep(CALL).await;
            finished.fetch_add(1, SeqCst);
            response(control, format!("v{call}"))
        }
    });
    (stack, calls, done)
}

fn get() -> Request {
    request(Method::GET, "/", Body::empty())
}

/// Lets tasks run that are ready.
async fn settle() {
    for _ in 0..64 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn five_hundred_misses_at_once_are_one_call() {
    let (stack, calls, _) = slow("{}", "max-age=60");
    let answers = join_all((0..500).map(|_| stack.send(get()))).await;
    assert_eq!(calls.load(SeqCst), 1);
    assert!(answers.iter().all(|answer| answer.text() == "v1"));
    assert_eq!(answers[0].header("cache-status"), "ziggurat; fwd=uri-miss; stored; ttl=58");
    assert_eq!(answers[499].header("cache-status"), "ziggurat; fwd=uri-miss; collapsed");
    let metrics = stack.metrics();
    assert!(metrics.contains(r#"ziggurat_cache_requests_total{place="cache",result="collapsed"} 499"#), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn misses_of_what_turns_out_private_do_not_queue_up_and_nobody_sees_the_page_of_another() {
    let (stack, calls, _) = slow("{}", "private");
    let begin = Instant::now();
    let answers = join_all((0..100).map(|_| stack.send(get()))).await;
    assert_eq!((calls.load(SeqCst), begin.elapsed()), (100, 2 * CALL));
    let mut texts: Vec<_> = answers.iter().map(TestResponse::text).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 100);
    // From now on nobody waits at all.
    let begin = Instant::now();
    join_all((0..100).map(|_| stack.send(get()))).await;
    assert_eq!((calls.load(SeqCst), begin.elapsed()), (200, CALL));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_validation_do_not_get_the_cookie_of_the_client_that_asked() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let stack = TestStack::of::<Cache>("{}").over(move |request: Request| {
        let call = counted.fetch_add(1, SeqCst);
        let is_known = request.headers().contains_key("if-none-match");
        async move {
            sleep(CALL).await;
            let mut response = response("max-age=60", "v1".to_owned());
            response.headers_mut().insert("etag", HeaderValue::from_static("\"a\""));
            if call > 0 {
                response.headers_mut().insert("set-cookie", format!("sid={call}").parse().unwrap());
            }
            if is_known {
                (*response.status_mut(), *response.body_mut()) = (StatusCode::NOT_MODIFIED, Body::empty());
            }
            response
        }
    });
    stack.send(get()).await;
    sleep(Duration::from_secs(61)).await;
    let begin = Instant::now();
    let answers = join_all((0..10).map(|_| stack.send(get()))).await;
    assert!(answers.iter().all(|answer| answer.status() == 200 && answer.text() == "v1"));
    let mut cookies: Vec<_> = answers.iter().map(|answer| answer.header("set-cookie").to_owned()).collect();
    cookies.sort();
    cookies.dedup();
    assert_eq!((cookies.len(), calls.load(SeqCst), begin.elapsed()), (10, 11, 2 * CALL));
    assert!(stack.metrics().contains("ziggurat_cache_responses{place=\"cache\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn after_two_minutes_requests_of_a_private_page_wait_for_each_other_again() {
    let (stack, _, _) = slow("{}", "private");
    stack.send(get()).await;
    sleep(Duration::from_secs(121)).await;
    let begin = Instant::now();
    join_all((0..2).map(|_| stack.send(get()))).await;
    assert_eq!(begin.elapsed(), 2 * CALL);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_no_longer_than_the_option_says() {
    let (stack, calls, _) = slow(r#"{"wait": "500ms"}"#, "max-age=60");
    let begin = Instant::now();
    let answers = join_all((0..3).map(|_| stack.send(get()))).await;
    assert_eq!((calls.load(SeqCst), begin.elapsed()), (3, CALL + Duration::from_millis(500)));
    assert_eq!(answers[2].header("cache-status"), "ziggurat; fwd=uri-miss");
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_bound_do_not_wait() {
    let (stack, calls, _) = slow("{}", "max-age=60");
    join_all((0..1030).map(|_| stack.send(get()))).await;
    assert_eq!(calls.load(SeqCst), 1030 - 1024);
}

#[tokio::test(start_paused = true)]
async fn each_encoding_is_one_call() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let stack = TestStack::of::<Cache>("{}").then::<Compress>("{}").over(move |_| {
        counted.fetch_add(1, SeqCst);
        async {
            sleep(CALL).await;
            let mut response = response("max-age=60", "word ".repeat(1000));
            response.headers_mut().insert("content-type", HeaderValue::from_static("text/html"));
            response
        }
    });
    let accept = ["gzip, deflate, br", "gzip", "br, gzip", "GZIP;q=1"];
    let answers = join_all((0..400).map(|n| stack.get("/").header("accept-encoding", accept[n % 4]).into_future())).await;
    assert_eq!(calls.load(SeqCst), 2);
    assert!((0..400).all(|n| answers[n].header("content-encoding") == if n % 2 == 0 { "br" } else { "gzip" }));
    let hit = stack.get("/").header("accept-encoding", "gzip").await;
    assert_eq!((hit.body(), hit.header("cache-status")), (answers[1].body(), "ziggurat; hit; ttl=58"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_cancels_its_call_if_nobody_else_waits() {
    let (stack, calls, done) = slow("{}", "max-age=60");
    assert!(poll_immediate(Box::pin(stack.send(get()))).await.is_none());
    sleep(2 * CALL).await;
    assert_eq!((calls.load(SeqCst), done.load(SeqCst)), (1, 0));
    assert_eq!(stack.send(get()).await.text(), "v2");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_does_not_take_the_response_from_those_who_wait() {
    let (stack, calls, done) = slow("{}", "max-age=60");
    let mut first = Box::pin(stack.send(get()));
    assert!(poll_immediate(&mut first).await.is_none());
    let mut second = Box::pin(stack.send(get()));
    assert!(poll_immediate(&mut second).await.is_none());
    drop(first);
    assert_eq!(second.await.text(), "v1");
    assert_eq!((calls.load(SeqCst), done.load(SeqCst)), (1, 1));
    assert!(stack.send(get()).await.header("cache-status").contains("hit"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_waits_for_any_more_is_cancelled() {
    let (stack, calls, done) = slow("{}", "max-age=60");
    let mut first = Box::pin(stack.send(get()));
    let mut second = Box::pin(stack.send(get()));
    assert!(poll_immediate(&mut first).await.is_none() && poll_immediate(&mut second).await.is_none());
    drop(first);
    settle().await;
    drop(second);
    sleep(2 * CALL).await;
    assert_eq!((calls.load(SeqCst), done.load(SeqCst)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_app_that_panics_leaves_nobody_waiting() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let stack = TestStack::of::<Cache>("{}").over(move |_| {
        let call = counted.fetch_add(1, SeqCst);
        async move {
            sleep(CALL).await;
            assert!(call > 0, "the first call");
            response("max-age=60", "fine".to_owned())
        }
    });
    let answers = join_all((0..5).map(|_| stack.send(get()))).await;
    assert_eq!(answers.iter().map(|answer| answer.status().as_u16()).collect::<Vec<_>>(), [500, 200, 200, 200, 200]);
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_while_its_url_changes_is_not_stored() {
    let (stack, calls, _) = slow("{}", "max-age=60");
    let mut read = Box::pin(stack.send(get()));
    assert!(poll_immediate(&mut read).await.is_none());
    let mut change = Box::pin(stack.send(request(Method::POST, "/", Body::empty())));
    assert!(poll_immediate(&mut change).await.is_none());
    let (read, _) = tokio::join!(read, change);
    assert_eq!(read.text(), "v1");
    // The change ends at the same time as the read: whichever comes first, what was read before is gone.
    assert_eq!(stack.send(get()).await.text(), "v3");
    assert_eq!(calls.load(SeqCst), 3);
}

/// What writes the body of a response.
type Writer = mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>;

/// A stack over an app whose responses are written by hand.
fn written() -> (TestStack, mpsc::UnboundedReceiver<Writer>) {
    let (writers, written) = mpsc::unbounded_channel();
    let stack = TestStack::of::<Cache>(r#"{"entry": "10B", "total_memory": "4KiB"}"#).over(move |_| {
        let (writer, frames) = mpsc::unbounded_channel();
        let _ = writers.send(writer);
        async move {
            let stream = futures_util::stream::unfold(frames, async |mut frames| Some((frames.recv().await?, frames)));
            let mut response = Response::new(Body::new(StreamBody::new(stream)));
            response.headers_mut().insert("cache-control", HeaderValue::from_static("max-age=60"));
            response
        }
    });
    (stack, written)
}

fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[tokio::test(start_paused = true)]
async fn each_part_of_a_stream_reaches_the_client_at_once() {
    let (stack, mut apps) = written();
    let mut body = stack.call(get()).await.into_body();
    let app = apps.recv().await.unwrap();
    for text in ["one", "two"] {
        app.send(data(text)).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), text);
    }
    drop(app);
    assert!(body.frame().await.is_none());
    assert_eq!(stack.send(get()).await.text(), "onetwo");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_does_not_delay_others() {
    let (stack, mut apps) = written();
    let slow = stack.call(get()).await;
    let app = apps.recv().await.unwrap();
    let mut other = Box::pin(stack.send(get()));
    assert!(poll_immediate(&mut other).await.is_none());
    app.send(data("one")).unwrap();
    app.send(data("two")).unwrap();
    drop(app);
    assert_eq!(other.await.text(), "onetwo");
    assert_eq!(slow.into_body().collect().await.unwrap().to_bytes(), "onetwo");
}

#[tokio::test(start_paused = true)]
async fn a_response_whose_client_leaves_is_received_all_the_same() {
    let (stack, mut apps) = written();
    let body = stack.call(get()).await.into_body();
    let app = apps.recv().await.unwrap();
    drop(body);
    settle().await;
    app.send(data("one")).unwrap();
    drop(app);
    settle().await;
    assert_eq!(stack.send(get()).await.text(), "one");
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_client_is_received_for_a_minute() {
    let (stack, mut apps) = written();
    drop(stack.call(get()).await);
    let app = apps.recv().await.unwrap();
    settle().await;
    app.send(data("one")).unwrap();
    sleep(Duration::from_secs(61)).await;
    assert!(app.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_too_long_is_read_at_the_pace_of_its_client_and_nobody_waits_for_it() {
    let (stack, mut apps) = written();
    let mut body = stack.call(get()).await.into_body();
    let app = apps.recv().await.unwrap();
    let mut other = Box::pin(stack.call(get()));
    assert!(poll_immediate(&mut other).await.is_none());
    app.send(data("eight ch")).unwrap();
    app.send(data("and more")).unwrap();
    app.send(data("and more")).unwrap();
    let other = other.await;
    assert_eq!(other.headers()["cache-status"], "ziggurat; fwd=uri-miss");
    drop(app);
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    assert_eq!(text, b"eight chand moreand more");
    assert!(stack.metrics().contains("ziggurat_cache_responses{place=\"cache\"} 0"));
    assert!(stack.metrics().contains("ziggurat_cache_memory_bytes{place=\"cache\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn a_response_is_refreshed_once_however_many_ask_for_it() {
    let (stack, calls, _) = slow("{}", "max-age=60, stale-while-revalidate=60");
    stack.send(get()).await;
    sleep(Duration::from_secs(61)).await;
    let begin = Instant::now();
    let answers = join_all((0..100).map(|_| stack.send(get()))).await;
    assert!(answers.iter().all(|answer| answer.text() == "v1") && begin.elapsed().is_zero());
    sleep(2 * CALL).await;
    assert_eq!((calls.load(SeqCst), stack.send(get()).await.text()), (2, "v2".to_owned()));
}
