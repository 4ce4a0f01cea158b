//! A request on its way to the app, and the response on its way back, wherever the app runs.
//!
//! [`AppService`](service::AppService), at the bottom of a stack, makes a [`Call`] of each request: the head as CGI variables in one buffer, the body
//! or a pipe for it, and a [`Responder`]. An [`Executor`] runs the call. Nothing in this folder knows Python, processes or permits.

pub(crate) mod bodies;
pub(crate) mod body;
pub(crate) mod chunks;
pub(crate) mod encoded_head;
pub(crate) mod head;
pub(crate) mod hints;
pub(crate) mod mailbox;
pub(crate) mod pipe;
pub(crate) mod responder;
pub(crate) mod service;
pub(crate) mod spooled;
pub(crate) mod websocket;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use ziggurat_middleware::timing::RequestClock;
use ziggurat_middleware::{BoxError, FileBody, Problem};

use head::Head;
use hints::HintSender;
use pipe::Reader;
use responder::Responder;
use spooled::SpooledBody;

/// A request for the app.
pub(crate) struct Call {
    /// Its number, which the executor assigns.
    pub(crate) number: u64,
    pub(crate) head: Head,
    pub(crate) body: RequestBody,
    /// Where the response goes.
    pub(crate) responder: Responder,
    /// Where hints go, if the app may send some.
    pub(crate) hints: Option<HintSender>,
    /// The reserve whose threads it may use; 0 for the threads that every request may use.
    pub(crate) class: u32,
    /// When it entered the queue.
    pub(crate) since: Instant,
    /// The clock of the request, if the stack is timed: that of the app's thread, if there are layers in it.
    pub(crate) clock: Option<RequestClock>,
}

impl Call {
    /// Notes that a thread of the app has begun with it at that moment.
    pub(crate) fn begin(&self, begun: Instant) {
        match &self.clock {
            Some(clock) => clock.begin_thread(begun.into()),
            None => self.responder.begin(begun),
        }
    }

    /// Whether all of its body has been received.
    pub(crate) const fn is_whole(&self) -> bool {
        matches!(self.body, RequestBody::Whole(_) | RequestBody::Spooled(_))
    }
}

/// The body of a request, as the app reads it.
pub(crate) enum RequestBody {
    /// All of it, in memory.
    Whole(Bytes),
    /// All of it, in a file.
    Spooled(SpooledBody),
    /// A pipe, for a body that the app reads while it arrives.
    Stream(Reader<Arc<BodyFailure>>),
    /// None: the request asks for a WebSocket. The app gets this socket, whose other end the server copies to and from the client.
    WebSocket(OwnedFd),
}

impl RequestBody {
    /// The same body once more, if all of it has been received.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Whole(octets) => Some(Self::Whole(octets.clone())),
            Self::Spooled(file) => Some(Self::Spooled(file.clone())),
            Self::Stream(_) | Self::WebSocket(_) => None,
        }
    }
}

/// Why the body of a request ended early.
#[derive(Debug)]
pub(crate) struct BodyFailure {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
}

/// What comes back for a call.
pub(crate) enum Reply {
    Response(ResponseHead, ReplyBody),
    /// The app failed before it responded. The cause is logged already.
    Failed(Problem),
}

/// Status and headers.
#[derive(Clone, Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// The reason phrase, where it is not the canonical one.
    pub(crate) reason: Option<Box<[u8]>>,
    pub(crate) headers: HeaderMap,
    /// The value of `Content-Length`.
    pub(crate) length: Option<u64>,
    /// How long the app's thread has taken for it, if another process has measured that.
    pub(crate) thread: Option<Duration>,
}

/// The body of a response.
pub(crate) enum ReplyBody {
    /// All of it.
    Whole(Bytes),
    /// Chunks as the app makes them.
    Stream(Reader<BoxError>),
    /// A part of a file, sent without the app.
    File(FileBody),
}

/// Runs calls. It never blocks the calling task.
pub(crate) trait Executor: Send + Sync + 'static {
    /// Accepts a call and returns its number. The call runs now or when a thread is free. If the queue is full, the call is returned.
    #[allow(clippy::result_large_err)] // A box would cost an allocation per accepted call.
    fn submit(self: &Arc<Self>, call: Call) -> Result<u64, Call>;

    /// Sends a signal about a call. Does nothing if the call is over.
    fn signal(&self, number: u64, signal: CallSignal);
}

/// A 503 that the client may retry. `detail` is for the client, `cause` for the log.
pub(crate) fn overloaded(detail: &'static str, cause: impl Into<BoxError>) -> Problem {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(detail).because(cause);
    problem.header(RETRY_AFTER, HeaderValue::from_static("1"))
}

/// The response to a request that still waits when its app shuts down.
pub(crate) fn ending() -> Problem {
    overloaded("the app is ending", "the app ended before the request's turn came")
}

/// The response to a request whose deadline has passed.
pub(crate) fn late() -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT).detail("the app did not answer in time")
}

/// A signal to the executor about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallSignal {
    /// The client has left.
    Cancel,
    /// The request is slow: log the Python stack of its thread.
    Trace,
    /// The request is over its deadline: log the Python stack, and raise an exception in the thread.
    Expire,
    /// Return the call if the app has not begun with it.
    Recall,
}
