//! A request on its way to the app and its answer on the way back, whoever runs the app and wherever.
//!
//! The service at the bottom of the stack (`terminal`) makes a [`Call`] of each request: the head as CGI variables in one buffer (`head`), the
//! body as far as it is taken in (`body`), and the way back. An [`Executor`] has it served. Nothing here knows Python, or processes.

pub(crate) mod body;
pub(crate) mod head;
pub(crate) mod mailbox;
pub(crate) mod pipe;
pub(crate) mod responder;
pub(crate) mod service;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use ziggurat_middleware::{BoxError, FileBody, Problem};

use head::Head;
use pipe::Reader;
use responder::Responder;

/// One request for the app.
pub(crate) struct Call {
    /// Its number among the calls of its executor.
    pub(crate) number: u64,
    pub(crate) head: Head,
    pub(crate) body: RequestBody,
    /// Where the response goes.
    pub(crate) responder: Responder,
    /// The class of threads it may use: 0 for those that anybody may, or the reserve of a route.
    pub(crate) class: u32,
    /// Since when it has waited.
    pub(crate) since: Instant,
}

impl Call {
    /// Whether all of its body is at hand.
    pub(crate) const fn is_whole(&self) -> bool {
        matches!(self.body, RequestBody::Whole(_))
    }
}

/// A request's body as the app will read it.
pub(crate) enum RequestBody {
    /// All of it.
    Whole(Bytes),
    /// More than is taken in at once, or nothing before the app asks.
    Stream(Reader<Arc<BodyFailure>>),
}

/// Why a request's body ended before its end.
#[derive(Debug)]
pub(crate) struct BodyFailure {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
}

/// The app's answer.
pub(crate) enum Reply {
    Response(ResponseHead, ReplyBody),
    /// The app failed before it answered. What is to be logged has been logged.
    Failed(Problem),
}

/// Status and headers.
#[derive(Clone, Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// The phrase after the status, where it is not the usual one.
    pub(crate) reason: Option<Box<[u8]>>,
    pub(crate) headers: HeaderMap,
    /// `Content-Length` among the headers.
    pub(crate) length: Option<u64>,
}

/// A response's body on its way out.
pub(crate) enum ReplyBody {
    /// All of it.
    Whole(Bytes),
    /// Chunks as the app makes them.
    Stream(Reader<BoxError>),
    /// A part of a file, read without the app.
    File(FileBody),
}

/// How requests reach the app. The calling task never waits.
pub(crate) trait Executor: Send + Sync + 'static {
    /// Has the call served, now or when its turn comes, and says by which number it is known; or gives it back when too many wait already.
    #[allow(clippy::result_large_err)] // It is moved, once; a box would cost every call that is taken.
    fn submit(self: &Arc<Self>, call: Call) -> Result<u64, Call>;

    /// A signal about a call that was submitted. Nothing happens where it is over already.
    fn signal(&self, number: u64, signal: CallSignal);
}

/// The answer to a request that has to come again later: what the client is told, and why for the log.
pub(crate) fn overloaded(detail: &'static str, cause: impl Into<BoxError>) -> Problem {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(detail).because(cause);
    problem.header(RETRY_AFTER, HeaderValue::from_static("1"))
}

/// The answer to a request whose turn has not come before the app's end.
pub(crate) fn ending() -> Problem {
    overloaded("the app is ending", "the app ended before the request's turn came")
}

/// The answer to a request whose app did not answer before the deadline.
pub(crate) fn late() -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT).detail("the app did not answer in time")
}

/// What may have to be said about a call while it is with the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallSignal {
    /// Nobody waits for the answer any more.
    Cancel,
    /// It takes long: its Python stack goes to the log.
    Trace,
    /// Its time is over: its Python stack goes to the log, and an exception is raised in its thread.
    Expire,
    /// It is to be given back if the app has not begun with it.
    Recall,
}
