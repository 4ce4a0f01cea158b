//! The way back of a call: within this process, or over the link to the front.

use bytes::Bytes;
use tokio::sync::oneshot;
use ziggurat_middleware::{BoxError, Problem};

use super::file_body::FileBody;
use super::pipe::{Abandoned, Writer, pipe};
use super::within::{Begun, Inbox};
use super::{Reply, ReplyBody, ResponseHead};
use crate::worker::link::exit::{LinkExit, LinkFlow};
use crate::worker::link::frame::LARGEST_INLINE;

/// How much of a response may wait for its reader.
pub(crate) const BUDGET: usize = 256 * 1024;

/// Where the answer of one call goes.
pub(crate) enum Exit {
    /// To the task that made the call.
    Here(oneshot::Sender<Reply>),
    /// To whoever made the call on this very thread.
    Within(Inbox),
    /// To the front.
    Link(LinkExit),
}

/// The body of an answer that is sent as it is made.
pub(crate) enum Flow {
    Here(Writer<BoxError>),
    Within(Inbox),
    Link(LinkFlow),
}

impl Exit {
    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Here(reply) => reply.is_closed(),
            Self::Within(_) => false,
            Self::Link(exit) => exit.is_closed(),
        }
    }

    /// Whether a body of this length goes with its head, or has to be streamed after it.
    pub(crate) const fn takes_whole(&self, length: usize) -> bool {
        match self {
            Self::Here(_) | Self::Within(_) => true,
            Self::Link(_) => length <= LARGEST_INLINE,
        }
    }

    /// Says that nothing of the app's is left to do once an answer that is all there is sent.
    pub(crate) const fn set_last(&mut self) {
        if let Self::Link(exit) = self {
            exit.set_last();
        }
    }

    /// Has the server answer for an app that failed.
    pub(crate) fn fail(self, problem: Problem) {
        match self {
            // Who asked may have left.
            Self::Here(reply) => drop(reply.send(Reply::Failed(problem))),
            Self::Within(inbox) => inbox.begin(Begun::Failed(problem)),
            Self::Link(exit) => exit.fail(&problem),
        }
    }

    /// Sends an answer that is all there. Says whether somebody takes it.
    pub(crate) fn whole(self, head: ResponseHead, body: Bytes) -> bool {
        match self {
            Self::Here(reply) => reply.send(Reply::Answer(head, ReplyBody::Whole(body))).is_ok(),
            Self::Within(inbox) => {
                inbox.begin(Begun::Whole(head, body));
                true
            }
            Self::Link(exit) => exit.whole(&head, body),
        }
    }

    /// Sends a part of a file; over a link, that blocks this thread until it is sent. Says whether somebody takes it.
    pub(crate) fn file(self, head: ResponseHead, file: FileBody) -> bool {
        match self {
            Self::Here(reply) => reply.send(Reply::Answer(head, ReplyBody::File(file))).is_ok(),
            Self::Within(inbox) => {
                inbox.begin(Begun::File(head, file));
                true
            }
            Self::Link(exit) => exit.file(&head, file),
        }
    }

    /// Sends the head, the body to follow. Nothing where nobody takes it.
    pub(crate) fn stream(self, head: ResponseHead) -> Option<Flow> {
        match self {
            Self::Here(reply) => {
                let (writer, reader) = pipe(BUDGET, false);
                reply.send(Reply::Answer(head, ReplyBody::Stream(reader))).ok().map(|()| Flow::Here(writer))
            }
            Self::Within(inbox) => {
                inbox.begin(Begun::Stream(head));
                Some(Flow::Within(inbox))
            }
            Self::Link(exit) => exit.stream(&head).map(Flow::Link),
        }
    }
}

impl Flow {
    /// Sends a chunk as far as there is room, and gives back what is left of it.
    pub(crate) fn try_send(&self, chunk: Bytes) -> Result<Option<Bytes>, Abandoned> {
        match self {
            Self::Here(writer) => writer.try_send(chunk),
            Self::Within(inbox) => inbox.put(chunk).map(|()| None),
            Self::Link(flow) => flow.try_send(chunk),
        }
    }

    /// Sends a chunk, blocking this thread until there is room for it.
    pub(crate) fn send(&self, chunk: Bytes) -> Result<(), Abandoned> {
        match self {
            Self::Here(writer) => writer.send(chunk),
            Self::Within(inbox) => inbox.put(chunk),
            Self::Link(flow) => flow.send(chunk),
        }
    }

    /// Ends the body well.
    pub(crate) fn finish(self) {
        match self {
            Self::Here(writer) => writer.finish(),
            Self::Within(inbox) => inbox.end(Ok(())),
            Self::Link(flow) => flow.finish(),
        }
    }

    /// Breaks the body off.
    pub(crate) fn fail(self, error: impl Into<BoxError>) {
        let error = error.into();
        match self {
            Self::Here(writer) => writer.fail(error),
            Self::Within(inbox) => inbox.end(Err(error)),
            Self::Link(flow) => flow.fail(&error.to_string()),
        }
    }
}
