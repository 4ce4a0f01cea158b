//! Sends the response to a call.

use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;
use ziggurat_middleware::{BoxError, FileBody, Problem};

use super::encoded_head::EncodedHead;
use super::mailbox::{Mailbox, Start};
use super::pipe::{Disconnected, Writer, pipe};
use super::{Reply, ReplyBody, ResponseHead};

/// How many octets of a response body may wait for the client.
pub(crate) const BUDGET: usize = 256 * 1024;

/// Sends the response to one call.
pub(crate) enum Responder {
    /// To the task that made the call.
    Task(oneshot::Sender<Reply>),
    /// To a caller on this thread, which reads between the steps of the app.
    InPlace(Mailbox),
    /// To another process.
    Remote(Arc<dyn RemoteResponder>),
}

/// Sends the response to a call that another process made.
///
/// It is shared with the thread that receives cancellations, so a call needs no allocation besides this one.
pub(crate) trait RemoteResponder: Send + Sync {
    /// A thread of the app has begun with the call at that moment.
    fn begin(&self, begun: Instant);

    /// Whether the caller has left.
    fn is_cancelled(&self) -> bool;

    /// Whether a body of this length fits in one message with its head.
    fn takes_whole(&self, length: usize) -> bool;

    /// Sends a whole response, or a 500 if the head is too large. `is_last` says that the call is over with it. Returns `false` if the caller has
    /// left.
    fn whole(&self, head: &EncodedHead, body: &[u8], is_last: bool) -> bool;

    /// Sends a response whose body is a part of a file, or a 500 if the head is too large. Returns `false` if the caller has left.
    fn file(&self, head: &EncodedHead, file: OwnedFd, part: Range<u64>) -> bool;

    /// Answers for an app that failed.
    fn fail(&self, problem: &Problem);

    /// Sends a hint before the response.
    fn hint(&self, head: &EncodedHead);

    /// Sends the head of a streamed response. Returns `false` if the caller does not want the body.
    fn start(&self, head: &EncodedHead) -> bool;

    /// Sends as much of a chunk as there is room for, and returns the rest.
    fn try_send(&self, chunk: Bytes) -> Result<Option<Bytes>, Disconnected>;

    /// Sends a chunk. Blocks this thread until there is room for all of it.
    fn send(&self, chunk: Bytes) -> Result<(), Disconnected>;

    /// Ends the body.
    fn finish(&self);

    /// Breaks the body off: the caller sees that it is incomplete.
    fn abort(&self, why: &str);
}

/// Sends the body of a streamed response. If it is dropped before [`BodySender::finish`], the body is broken off.
pub(crate) enum BodySender {
    Task(Writer<BoxError>),
    InPlace(Mailbox),
    Remote(RemoteBody),
}

impl Responder {
    /// A thread of the app has begun with the call at that moment. Only another process has to be told.
    pub(crate) fn begin(&self, begun: Instant) {
        if let Self::Remote(remote) = self {
            remote.begin(begun);
        }
    }

    /// Whether the caller has left.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Task(reply) => reply.is_closed(),
            Self::InPlace(_) => false,
            Self::Remote(remote) => remote.is_cancelled(),
        }
    }

    /// Whether a body of this length goes with its head. A longer one is streamed.
    pub(crate) fn takes_whole(&self, length: usize) -> bool {
        match self {
            Self::Task(_) | Self::InPlace(_) => true,
            Self::Remote(remote) => remote.takes_whole(length),
        }
    }

    /// Answers for an app that failed.
    pub(crate) fn fail(self, problem: Problem) {
        match self {
            // The caller may have left.
            Self::Task(reply) => drop(reply.send(Reply::Failed(problem))),
            Self::InPlace(mailbox) => mailbox.start(Start::Failed(problem)),
            Self::Remote(remote) => remote.fail(&problem),
        }
    }

    /// Sends a whole response. `is_last` says that the app has nothing left to do for this call, so that a worker reports its end in the same
    /// message. Returns `false` if the caller has left.
    pub(crate) fn whole(self, head: EncodedHead, body: impl AsRef<[u8]> + Into<Bytes>, is_last: bool) -> bool {
        match self {
            Self::Task(reply) => reply.send(Reply::Response(head.decode(), ReplyBody::Whole(body.into()))).is_ok(),
            Self::InPlace(mailbox) => {
                mailbox.start(Start::Whole(head.decode(), body.into()));
                true
            }
            Self::Remote(remote) => remote.whole(&head, body.as_ref(), is_last),
        }
    }

    /// Sends a part of a file, without waiting for anybody to read it. Returns `false` if the caller has left.
    pub(crate) fn file(self, head: EncodedHead, file: File, part: Range<u64>) -> bool {
        match self {
            Self::Task(reply) => reply.send(Reply::Response(head.decode(), ReplyBody::File(FileBody::new(file, part)))).is_ok(),
            Self::InPlace(mailbox) => {
                mailbox.start(Start::File(head.decode(), FileBody::new(file, part)));
                true
            }
            Self::Remote(remote) => remote.file(&head, file.into(), part),
        }
    }

    /// Sends the head of a response and returns the sender of its body; `None` if the caller has left.
    pub(crate) fn stream(self, head: EncodedHead) -> Option<BodySender> {
        match self {
            Self::Task(_) => {
                let (writer, reader) = pipe(BUDGET, false);
                self.forward(head.decode(), ReplyBody::Stream(reader)).then_some(BodySender::Task(writer))
            }
            Self::InPlace(mailbox) => {
                mailbox.start(Start::Stream(head.decode()));
                Some(BodySender::InPlace(mailbox))
            }
            Self::Remote(remote) => RemoteBody::start(remote, &head).map(BodySender::Remote),
        }
    }

    /// Sends a response that another process has sent. Returns `false` if the caller has left; dropping a reader then tells its writer. Only a task takes
    /// one: calls of other callers are never forwarded.
    pub(crate) fn forward(self, head: ResponseHead, body: ReplyBody) -> bool {
        match self {
            Self::Task(reply) => reply.send(Reply::Response(head, body)).is_ok(),
            Self::InPlace(_) | Self::Remote(_) => false,
        }
    }
}

impl BodySender {
    /// Sends as much of a chunk as there is room for, and returns the rest.
    pub(crate) fn try_send(&self, chunk: Bytes) -> Result<Option<Bytes>, Disconnected> {
        match self {
            Self::Task(writer) => writer.try_send(chunk),
            Self::InPlace(mailbox) => mailbox.put(chunk).map(|()| None),
            Self::Remote(body) => body.remote.try_send(chunk),
        }
    }

    /// Sends a chunk. Blocks this thread until there is room for it.
    pub(crate) fn send(&self, chunk: Bytes) -> Result<(), Disconnected> {
        match self {
            Self::Task(writer) => writer.send(chunk),
            Self::InPlace(mailbox) => mailbox.put(chunk),
            Self::Remote(body) => body.remote.send(chunk),
        }
    }

    /// Ends the body.
    pub(crate) fn finish(self) {
        match self {
            Self::Task(writer) => writer.finish(),
            Self::InPlace(mailbox) => mailbox.end(Ok(())),
            Self::Remote(body) => body.finish(),
        }
    }

    /// Breaks the body off.
    pub(crate) fn fail(self, error: impl Into<BoxError>) {
        let error = error.into();
        match self {
            Self::Task(writer) => writer.fail(error),
            Self::InPlace(mailbox) => mailbox.end(Err(error)),
            Self::Remote(body) => body.abort(&error.to_string()),
        }
    }
}

/// The body of a response on its way to another process.
pub(crate) struct RemoteBody {
    remote: Arc<dyn RemoteResponder>,
    is_open: bool,
}

impl RemoteBody {
    /// Sends the head; `None` if the caller does not want the body.
    fn start(remote: Arc<dyn RemoteResponder>, head: &EncodedHead) -> Option<Self> {
        remote.start(head).then_some(Self { remote, is_open: true })
    }

    fn finish(mut self) {
        self.is_open = false;
        self.remote.finish();
    }

    fn abort(mut self, why: &str) {
        self.is_open = false;
        self.remote.abort(why);
    }
}

impl Drop for RemoteBody {
    fn drop(&mut self) {
        if self.is_open {
            self.remote.abort(&Disconnected.to_string());
        }
    }
}
