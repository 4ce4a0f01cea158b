//! Self times of stacks in memory, on paused time.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::*;
use crate::{Body, BoxError, IntoStage, Next, Request, RequestSummary, Response, TestStack, TestStage, around, from_fn};

const SECOND: Duration = Duration::from_secs(1);

/// The clock of the last request.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Option<RequestClock>>>);

impl Watch {
    /// A stack that is timed, with a layer on top that leaves the clock here.
    fn stage(&self) -> TestStage {
        let seen = self.0.clone();
        let watch = around(move |request: &mut Request| {
            *seen.lock().unwrap() = RequestSummary::of(request.extensions()).and_then(RequestSummary::clock).cloned();
            Ok(|response| response)
        });
        TestStack::stage(watch).timed()
    }

    fn clock(&self) -> RequestClock {
        self.0.lock().unwrap().clone().unwrap()
    }

    /// Places with their self times in whole seconds: until the head of the response, and of the body.
    fn seconds(&self) -> Vec<(String, u64, u64)> {
        let times = self.clock().self_times().into_iter();
        times.map(|time| (time.place.to_string(), time.request.as_secs(), time.body.as_secs())).collect()
    }
}

fn times(of: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    of.iter().map(|(place, request, body)| ((*place).to_owned(), *request, *body)).collect()
}

/// A layer that takes some seconds before and after what is below it.
fn slow(before: u32, after: u32) -> impl IntoStage {
    from_fn((), move |(), request: Request, next: Next| async move {
        sleep(SECOND * before).await;
        let response = next.run(request).await;
        sleep(SECOND * after).await;
        response
    })
}

/// A body of chunks, each of which takes a second.
fn chunks(count: usize) -> Body {
    let frames = unfold(count, |left| async move {
        sleep(SECOND).await;
        left.checked_sub(1).map(|left| (Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"chunk"))), left))
    });
    Body::new(StreamBody::new(Box::pin(frames)))
}

/// A body that takes two seconds for each frame of another one.
struct Slowed {
    inner: Body,
    pause: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Slowed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(2 * SECOND)));
        std::task::ready!(pause.as_mut().poll(cx));
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.pause = None;
        Poll::Ready(frame)
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_layer_is_without_what_is_below_it() {
    let watch = Watch::default();
    let stack = watch.stage().then_stage(slow(1, 2)).over(async |_| {
        sleep(5 * SECOND).await;
        Response::new(Body::from("text"))
    });
    assert_eq!(stack.get("/").await.text(), "text");
    assert_eq!(watch.seconds(), times(&[("test#2", 0, 0), ("test", 3, 0), ("app", 5, 0)]));
    let metrics = stack.metrics();
    for line in [
        "ziggurat_self_seconds_sum{place=\"test\",phase=\"request\"} 3\n",
        "ziggurat_self_seconds_sum{place=\"app\",phase=\"request\"} 5\n",
        "ziggurat_self_seconds_bucket{place=\"app\",phase=\"request\",le=\"5\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    assert!(!metrics.contains("phase=\"body\"") && !metrics.contains("ziggurat_app_part_seconds_sum"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_body_counts_for_those_that_make_and_change_it_and_not_for_the_client() {
    let watch = Watch::default();
    let slowed = around(|_: &mut Request| Ok(|response: Response| response.map(|inner| Body::new(Slowed { inner, pause: None }))));
    let unchanged = around(|_: &mut Request| Ok(|response| response));
    let stack = watch.stage().then_stage(slowed).then_stage(unchanged).over(async |_| Response::new(chunks(3)));
    let begin = Instant::now();
    let mut body = stack.call(crate::request(http::Method::GET, "/", Body::empty())).await.into_body();
    while body.frame().await.is_some() {
        // A slow client.
        sleep(10 * SECOND).await;
    }
    drop(body);
    // Three chunks and the end take a second each, and two for the layer.
    assert_eq!(watch.seconds(), times(&[("test#3", 0, 0), ("test#2", 0, 8), ("test", 0, 0), ("app", 0, 4)]));
    assert_eq!(begin.elapsed(), 42 * SECOND);
    let metrics = stack.metrics();
    assert!(metrics.contains("ziggurat_self_seconds_sum{place=\"test#2\",phase=\"body\"} 8\n"), "{metrics}");
    assert!(!metrics.contains("{place=\"test\",phase=\"body\"}"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn who_is_not_waited_for_any_longer_has_the_time_until_then() {
    let watch = Watch::default();
    let patient = from_fn((), |(), request: Request, next: Next| async move {
        let late = timeout(3 * SECOND, next.run(request)).await.is_err();
        sleep(SECOND).await;
        Response::new(Body::from(if late { "late" } else { "in time" }))
    });
    let stack = watch.stage().then_stage(patient).then_stage(slow(2, 0)).over(async |_| std::future::pending().await);
    assert_eq!(stack.get("/").await.text(), "late");
    assert_eq!(watch.seconds(), times(&[("test#3", 0, 0), ("test#2", 1, 0), ("test", 2, 0), ("app", 1, 0)]));
}

#[tokio::test(start_paused = true)]
async fn what_another_process_has_measured_is_taken_from_the_app() {
    let watch = Watch::default();
    let seen = watch.clone();
    let stack = watch.stage().then_stage(slow(0, 0)).over(move |_| {
        let clock = seen.clock();
        async move {
            let thread = RequestClock::of_thread(Some(&clock), Instant::now(), None);
            let waiting = thread.clone().wait();
            sleep(10 * SECOND).await;
            thread.end_thread(7 * SECOND);
            // As if the layer stood in the worker.
            let spans = [("app", 4, 0), ("test", 2, 1), ("unknown", 1, 1)].map(|(name, request, body)| ThreadSpan {
                number: 0,
                above: None,
                name,
                begin: Duration::ZERO,
                duration: None,
                error: None,
                request: SECOND * request,
                body: SECOND * body,
            });
            thread.report(10 * SECOND, &spans);
            drop(waiting);
            Response::new(Body::empty())
        }
    });
    stack.get("/").await;
    assert_eq!(watch.seconds(), times(&[("test#2", 0, 0), ("test", 2, 1), ("app", 7, 0)]));
    let parts = AppPart::ALL.map(|part| watch.clock().part(part).map(|time| time.as_secs()));
    assert_eq!(parts, [Some(3), Some(7), None]);
    let metrics = stack.metrics();
    assert!(metrics.contains("ziggurat_app_part_seconds_sum{place=\"app\",part=\"queue\"} 3\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn the_visits_that_a_clock_tells_apart_are_bounded() {
    let watch = Watch::default();
    let repeat = from_fn((), |(), _: Request, next: Next| async move {
        for _ in 0..1000 {
            next.clone().run(crate::request(http::Method::GET, "/", Body::empty())).await;
        }
        Response::new(Body::empty())
    });
    let seen = watch.clone();
    let inherit = from_fn((), move |(), mut request: Request, next: Next| {
        let summary = RequestSummary::new(request.method(), request.uri(), request.extensions());
        summary.start_clock(seen.clock());
        request.extensions_mut().insert(summary);
        next.run(request)
    });
    let stack = watch.stage().then_stage(repeat).then_stage(inherit).over(async |_| {
        sleep(SECOND).await;
        Response::new(Body::empty())
    });
    stack.get("/").await;
    assert_eq!(watch.clock().spans().len(), 64);
    assert_eq!(watch.seconds().iter().map(|(_, request, _)| request).sum::<u64>(), 1000);
}

/// An app whose thread begins after a second and takes so many more.
fn threaded(
    watch: &Watch,
    seconds: u32,
) -> impl Fn(Request) -> Pin<Box<dyn Future<Output = Response> + Send>> + Clone + Send + Sync + 'static {
    let seen = watch.clone();
    move |_| {
        let clock = seen.clock();
        Box::pin(async move {
            let waiting = clock.clone().wait_since(Instant::now());
            sleep(SECOND).await;
            clock.begin_thread(Instant::now());
            sleep(SECOND * seconds).await;
            waiting.respond();
            Response::new(Body::empty())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_visit_to_an_app_ends_with_that_to_its_thread() {
    let watch = Watch::default();
    let stack = watch.stage().then_stage(slow(1, 2)).over(threaded(&watch, 4));
    stack.get("/").await;
    assert_eq!(watch.seconds(), times(&[("test#2", 0, 0), ("test", 3, 0), ("app", 5, 0)]));
    let parts = AppPart::ALL.map(|part| watch.clock().part(part).map(|time| time.as_secs()));
    assert_eq!(parts, [Some(1), Some(4), None]);
}

#[tokio::test(start_paused = true)]
async fn no_time_is_lost_after_more_visits_than_a_clock_tells_apart() {
    let watch = Watch::default();
    let seen = watch.clone();
    let repeat = from_fn((), move |(), _: Request, next: Next| {
        let clock = seen.clock();
        async move {
            for _ in 0..100 {
                let mut request = crate::request(http::Method::GET, "/", Body::empty());
                let summary = RequestSummary::new(request.method(), request.uri(), request.extensions());
                summary.start_clock(clock.clone());
                request.extensions_mut().insert(summary);
                next.clone().run(request).await;
            }
            sleep(SECOND).await;
            Response::new(Body::empty())
        }
    });
    let stack = watch.stage().then_stage(repeat).over(threaded(&watch, 1));
    stack.get("/").await;
    assert_eq!(watch.clock().spans().len(), 64);
    assert_eq!(watch.seconds().iter().map(|(_, request, _)| request).sum::<u64>(), 201);
}

#[tokio::test(start_paused = true)]
async fn the_log_says_where_the_time_of_slow_requests_has_gone_one_line_for_many() {
    let stack = TestStack::stage(slow(1, 0)).slow(3 * SECOND).over(async |request: Request| {
        sleep(if request.uri().path() == "/quick" { SECOND } else { 3 * SECOND }).await;
        Response::new(Body::empty())
    });
    stack.get("/quick").await;
    assert_eq!(stack.log(), [""; 0]);
    for _ in 0..2 {
        stack.get("/slow?token=s3cr3t").await;
    }
    // The client leaves.
    assert!(timeout(7 * SECOND / 2, stack.call(crate::request(http::Method::GET, "/slow", Body::empty()))).await.is_err());
    sleep(20 * SECOND).await;
    assert_eq!(
        stack.log(),
        [
            "WARN request=GET /slow place=app slow: the response took 4.000 s: app 3.000 s, test 1.000 s",
            "WARN place=app count=2 2 more requests were slow within 10 s, the last one: GET /slow: 3.500 s: app 2.500 s, test 1.000 s",
        ]
    );
}

#[tokio::test]
async fn a_stack_that_is_not_timed_has_no_clock() {
    let stack = TestStack::stage(slow(0, 0)).over(async |request: Request| {
        assert!(RequestSummary::of(request.extensions()).unwrap().clock().is_none());
        Response::new(Body::empty())
    });
    assert_eq!(stack.get("/").await.status(), 200);
    assert_eq!(stack.metrics(), "");
}
