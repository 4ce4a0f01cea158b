//! The app as a tower service at the bottom of a stack.

use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::request::Parts;
use hyper::ext::ReasonPhrase;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tower::Service;
use ziggurat_middleware::timing::{RequestClock, ThreadVisit};
use ziggurat_middleware::trace::Trace;
use ziggurat_middleware::{Body, BoxError, Deadline, EarlyHints, Problem, Request, RequestSummary, ReserveClass, Response};

use super::bodies::BodyBudgets;
use super::body::{ReceivedBody, receive};
use super::chunks::Chunks;
use super::head::Head;
use super::hints::HintSender;
use super::responder::Responder;
use super::websocket::WebSocketRules;
use super::{BodyFailure, Call, CallSignal, Executor, Reply, ReplyBody, ResponseHead, late, overloaded, websocket};
use crate::reason;

/// Calls the app through an executor.
pub(crate) struct AppService<E> {
    executor: Arc<E>,
    limits: Arc<RequestLimits>,
    /// Whether there are layers above the app where it runs.
    has_layers: bool,
}

/// The limits of a request.
#[derive(Debug)]
pub(crate) struct RequestLimits {
    /// Where bodies wait.
    pub(crate) bodies: BodyBudgets,
    /// Whether the app reads a body that does not fit into memory while it arrives.
    pub(crate) streaming: bool,
    /// How long the response may take to begin after that. A [`Deadline`] of the request takes precedence.
    pub(crate) deadline: Option<Duration>,
    /// After how long the app's stack is logged.
    pub(crate) slow: Option<Duration>,
    /// Of WebSockets. `None` if the app takes none.
    pub(crate) websockets: Option<WebSocketRules>,
}

impl<E> AppService<E> {
    pub(crate) fn new(executor: Arc<E>, limits: RequestLimits) -> Self {
        Self { executor, limits: Arc::new(limits), has_layers: false }
    }

    /// The same, for an app with layers above it where it runs.
    pub(crate) fn with_layers(self, has_layers: bool) -> Self {
        Self { has_layers, ..self }
    }
}

impl<E> Clone for AppService<E> {
    fn clone(&self) -> Self {
        Self { executor: Arc::clone(&self.executor), limits: Arc::clone(&self.limits), has_layers: self.has_layers }
    }
}

impl<E: Executor> Service<Request> for AppService<E> {
    type Response = Response;
    type Error = BoxError;
    type Future = AppFuture<E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A full queue is answered with a 503, not waited for.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> AppFuture<E> {
        let (mut parts, body) = request.into_parts();
        let (executor, limits, has_layers) = (Arc::clone(&self.executor), Arc::clone(&self.limits), self.has_layers);
        if let Some(client) = websocket::requested(&mut parts) {
            return AppFuture::Boxed(Box::pin(websocket::serve(executor, parts, client, limits)));
        }
        match ReceivedBody::at_hand(&parts, body) {
            // At once, so that the head is freed before hyper reads on and needs a buffer.
            Ok(received) => submit(executor, parts, received, limits, has_layers),
            Err(body) => AppFuture::Boxed(Box::pin(async move {
                let received = receive(&parts, body, &limits.bodies.requests, limits.streaming).await.map_err(refusal)?;
                submit(executor, parts, received, limits, has_layers).await
            })),
        }
    }
}

/// The future of an [`AppService`].
pub(crate) enum AppFuture<E: Executor> {
    /// The reply is waited for without a limit of time. As most requests end here, they need no box of their own.
    Submitted {
        call: CancelOnDrop<E>,
        reply: oneshot::Receiver<Reply>,
        limits: Arc<RequestLimits>,
        waiting: Option<ThreadVisit>,
    },
    Boxed(Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>),
}

impl<E: Executor> Future for AppFuture<E> {
    type Output = Result<Response, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (reply, waiting, limits) = match &mut *self {
            Self::Boxed(future) => return future.as_mut().poll(cx),
            Self::Submitted { call, reply, limits, waiting } => {
                let reply = ready!(Pin::new(reply).poll(cx));
                call.disarm();
                (reply, waiting.take(), limits)
            }
        };
        match reply {
            Ok(Reply::Response(head, ReplyBody::Whole(octets))) if !BodyBudgets::counts(&octets) => {
                if let Some(waiting) = waiting {
                    waiting.respond();
                }
                Poll::Ready(Ok(head_of(head, Body::from(octets))))
            }
            Ok(reply) => {
                drop(waiting);
                let limits = Arc::clone(limits);
                self.set(Self::Boxed(Box::pin(async move { respond(reply, &limits.bodies).await })));
                self.poll(cx)
            }
            Err(_) => Poll::Ready(Err(dropped().into())),
        }
    }
}

/// Submits the call of a request whose body has been received.
fn submit<E: Executor>(
    executor: Arc<E>,
    parts: Parts,
    received: ReceivedBody,
    limits: Arc<RequestLimits>,
    has_layers: bool,
) -> AppFuture<E> {
    let since = Instant::now();
    let clock = RequestSummary::of(&parts.extensions).and_then(RequestSummary::clock).map(|clock| match has_layers {
        true => RequestClock::of_thread(Some(clock), since, Trace::of(&parts.extensions)),
        false => clock.clone(),
    });
    let (sender, reply) = oneshot::channel();
    let call = Call {
        number: 0,
        head: Head::new(&parts, received.length),
        body: received.body,
        responder: Responder::Task(sender),
        hints: EarlyHints::of(&parts.extensions).cloned().map(HintSender::Here),
        class: parts.extensions.get::<ReserveClass>().map_or(0, |class| class.0),
        since: since.into_std(),
        clock: clock.clone(),
    };
    let waiting = clock.map(|clock| if has_layers { clock.wait() } else { clock.wait_since(since) });
    let deadline = deadline_of(&parts, &limits);
    let Ok(number) = executor.submit(call) else {
        let problem = overloaded("too many requests wait for the app", "the app's queue is full");
        return AppFuture::Boxed(Box::pin(future::ready(Err(problem.into()))));
    };
    let mut call = CancelOnDrop::new(executor, number);
    if deadline.is_none() && limits.slow.is_none() {
        return AppFuture::Submitted { call, reply, limits, waiting };
    }
    AppFuture::Boxed(Box::pin(async move {
        let replied = in_time(&mut call, reply, since, deadline, limits.slow).await;
        call.disarm();
        drop(waiting);
        respond(replied?.map_err(|_| dropped())?, &limits.bodies).await
    }))
}

fn dropped() -> Problem {
    Problem::internal("the call was dropped without an answer")
}

/// How long the response may take to begin.
pub(super) fn deadline_of(parts: &Parts, limits: &RequestLimits) -> Option<Duration> {
    parts.extensions.get::<Deadline>().map(|deadline| deadline.0).or(limits.deadline)
}

type Replied = Result<Reply, oneshot::error::RecvError>;

/// Waits for the reply, and returns a 504 at the deadline.
async fn in_time<E: Executor>(
    call: &mut CancelOnDrop<E>,
    mut reply: oneshot::Receiver<Reply>,
    since: Instant,
    deadline: Option<Duration>,
    slow: Option<Duration>,
) -> Result<Replied, Problem> {
    // At the deadline the stack is logged anyway.
    if let Some(slow) = slow.filter(|slow| deadline.is_none_or(|deadline| *slow < deadline)) {
        match after(since, slow, &mut reply).await {
            Some(replied) => return Ok(replied),
            None => call.executor.signal(call.number, CallSignal::Trace),
        }
    }
    let Some(deadline) = deadline else { return Ok(reply.await) };
    if let Some(replied) = after(since, deadline, &mut reply).await {
        return Ok(replied);
    }
    call.disarm();
    // Before the signal: an executor that has not begun with the call sees that nobody waits for it.
    drop(reply);
    call.executor.signal(call.number, CallSignal::Expire);
    Err(late().because(format!("the app did not answer within {deadline:?}")))
}

/// The reply, if it comes within `time` after `since`.
async fn after(since: Instant, time: Duration, reply: &mut oneshot::Receiver<Reply>) -> Option<Replied> {
    match since.checked_add(time) {
        Some(until) => timeout_at(until, reply).await.ok(),
        None => Some(reply.await),
    }
}

/// A submitted call. If it is dropped before the reply, the call is cancelled.
pub(crate) struct CancelOnDrop<E: Executor> {
    executor: Arc<E>,
    number: u64,
    is_answered: bool,
}

impl<E: Executor> CancelOnDrop<E> {
    pub(super) const fn new(executor: Arc<E>, number: u64) -> Self {
        Self { executor, number, is_answered: false }
    }

    /// The call is answered, so it is not cancelled.
    pub(super) const fn disarm(&mut self) {
        self.is_answered = true;
    }
}

impl<E: Executor> Drop for CancelOnDrop<E> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.executor.signal(self.number, CallSignal::Cancel);
        }
    }
}

/// The response to a request whose body failed before the app was called.
fn refusal(error: BoxError) -> Problem {
    match error.downcast::<Problem>() {
        Ok(problem) => *problem,
        Err(error) => BodyFailure::of(&*error).problem(),
    }
}

/// What the client gets for a reply.
pub(super) async fn respond(reply: Reply, bodies: &BodyBudgets) -> Result<Response, BoxError> {
    let (head, body) = match reply {
        Reply::Response(head, body) => (head, body),
        Reply::Failed(problem) => return Err(problem.into()),
    };
    let body = match body {
        ReplyBody::Whole(octets) => bodies.response(octets).await?,
        ReplyBody::Stream(reader) => Body::new(Chunks::new(reader.spooling(&bodies.responses), head.length)),
        ReplyBody::File(file) => Body::new(file),
    };
    Ok(head_of(head, body))
}

/// A response with this head.
pub(crate) fn head_of(head: ResponseHead, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if let Some(reason) = head.reason.and_then(|reason| ReasonPhrase::try_from(reason.into_vec()).ok()) {
        reason::state(&mut response, reason);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::StatusCode;
    use ziggurat_middleware::units::Size;
    use ziggurat_middleware::{Context, Lifecycle};

    use super::*;

    /// An executor that responds after a while and records signals.
    struct Slow {
        time: Duration,
        signals: Mutex<Vec<(u64, CallSignal)>>,
    }

    impl Executor for Slow {
        fn submit(self: &Arc<Self>, call: Call) -> Result<u64, Call> {
            let time = self.time;
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                call.responder.fail(Problem::new(StatusCode::IM_A_TEAPOT));
            });
            Ok(7)
        }

        fn signal(&self, number: u64, signal: CallSignal) {
            self.signals.lock().unwrap().push((number, signal));
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn slow(time: Duration) -> Arc<Slow> {
        Arc::new(Slow { time, signals: Mutex::default() })
    }

    async fn status(executor: &Arc<Slow>, deadline: Option<Duration>, slow: Option<Duration>, of_route: Option<Duration>) -> u16 {
        let mut request = ziggurat_middleware::request(http::Method::GET, "/", Body::empty());
        if let Some(deadline) = of_route {
            request.extensions_mut().insert(Deadline(deadline));
        }
        let context = Context::new("app", std::path::Path::new("/"), Lifecycle::default());
        let limits = RequestLimits { bodies: BodyBudgets::new(&context, Size(0)), streaming: false, deadline, slow, websockets: None };
        let mut terminal = AppService::new(Arc::clone(executor), limits);
        let error = terminal.call(request).await.err().unwrap();
        error.downcast::<Problem>().unwrap().status().as_u16()
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_call_is_traced_and_goes_on() {
        let executor = slow(3 * SECOND);
        assert_eq!(status(&executor, Some(4 * SECOND), Some(2 * SECOND), None).await, 418);
        assert_eq!(*executor.signals.lock().unwrap(), [(7, CallSignal::Trace)]);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_deadline_the_client_is_answered_and_the_call_expires() {
        let executor = slow(3 * SECOND);
        let pending = Instant::now();
        assert_eq!(status(&executor, Some(SECOND), Some(SECOND), None).await, 504);
        assert!(pending.elapsed() < 2 * SECOND);
        assert_eq!(*executor.signals.lock().unwrap(), [(7, CallSignal::Expire)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_of_a_route_stands_in_for_the_apps() {
        let executor = slow(3 * SECOND);
        assert_eq!(status(&executor, Some(SECOND), None, Some(4 * SECOND)).await, 418);
        assert_eq!(status(&executor, None, None, Some(SECOND)).await, 504);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_client_leaves_is_cancelled_once() {
        let executor = slow(3 * SECOND);
        assert!(tokio::time::timeout(SECOND, status(&executor, None, None, None)).await.is_err());
        assert_eq!(*executor.signals.lock().unwrap(), [(7, CallSignal::Cancel)]);
        assert_eq!(status(&executor, None, None, None).await, 418);
        assert_eq!(executor.signals.lock().unwrap().len(), 1);
    }
}
