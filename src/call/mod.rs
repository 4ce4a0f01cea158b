//! A request on its way to the app and its answer on the way back, whoever runs the app and wherever.
//!
//! The service at the bottom of the stack (`terminal`) makes a [`Call`] of each request: the head as CGI variables in one buffer (`head`), the
//! body as far as it is taken in (`body`), and the way back. An [`Executor`] has it served. Nothing here knows Python, or processes.

pub(crate) mod body;
pub(crate) mod file_body;
pub(crate) mod head;
pub(crate) mod pipe;
pub(crate) mod terminal;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;
use ziggurat_middleware::{BoxError, Problem};

use file_body::FileBody;
use head::Head;
use pipe::Reader;

/// One request for the app.
pub(crate) struct Call {
    pub(crate) head: Head,
    pub(crate) body: RequestBody,
    pub(crate) reply: oneshot::Sender<Reply>,
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
    Answer(ResponseHead, ReplyBody),
    /// The app failed before it answered. What is to be logged has been logged.
    Failed(Problem),
}

/// Status and headers.
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
    /// Has the call served, or gives it back when too many wait already.
    fn submit(&self, call: Call) -> Result<(), Call>;
}
