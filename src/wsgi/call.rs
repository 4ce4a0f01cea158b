//! What an executor is given: a request as the app will see it, and the way back for the answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;
use ziggurat_middleware::{BoxError, Problem};

use super::file_body::FileBody;
use super::head::Head;
use super::pipe::Reader;

/// One request for the app.
pub(super) struct Call {
    pub(super) head: Head,
    pub(super) body: RequestBody,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// A request's body as the app will read it.
pub(super) enum RequestBody {
    /// All of it.
    Whole(Bytes),
    /// More than is taken in at once, or nothing before the app asks.
    Stream(Reader<Arc<BodyFailure>>),
}

/// Why a request's body ended before its end.
#[derive(Debug)]
pub(super) struct BodyFailure {
    pub(super) status: StatusCode,
    pub(super) detail: String,
}

/// The app's answer.
pub(super) enum Reply {
    Answer(ResponseHead, ReplyBody),
    /// The app failed before it answered. What is to be logged has been logged.
    Failed(Problem),
}

/// Status and headers.
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    /// The phrase after the status, where it is not the usual one.
    pub(super) reason: Option<Box<[u8]>>,
    pub(super) headers: HeaderMap,
    /// `Content-Length` among the headers.
    pub(super) length: Option<u64>,
}

/// A response's body on its way out.
pub(super) enum ReplyBody {
    /// All of it.
    Whole(Bytes),
    /// Chunks as the app makes them.
    Stream(Reader<BoxError>),
    /// A part of a file, read without the app.
    File(FileBody),
}

/// How requests reach the app. The calling task never waits.
pub(super) trait Executor: Send + Sync + 'static {
    /// Has the call served, or gives it back when too many wait already.
    fn submit(&self, call: Call) -> Result<(), Call>;
}
