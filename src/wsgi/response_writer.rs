//! Writes one response: when the head is sent, how much body may follow, and what the client gets if the app fails.
//!
//! It knows HTTP and no Python. Nothing is sent before the first octet of the body, so the app may replace the head until then. A response that is
//! complete by then goes as one message.

use std::fmt::Display;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use ziggurat_middleware::Problem;

use super::raised::Raised;
use crate::call::BodyFailure;
use crate::call::encoded_head::EncodedHead;
use crate::call::pipe::Disconnected;
use crate::call::responder::{BodySender, Responder};

/// How much of a body is read and dropped where the response has none. An endless body ends there.
const MOST_DROPPED: usize = 1 << 20;

/// What a shorter chunk counts, so that the number of chunks is bounded, too.
const LEAST_DROPPED: usize = 1 << 10;

/// The state of one response.
pub(super) struct ResponseWriter {
    responder: Option<Responder>,
    head: Option<EncodedHead>,
    to_head_request: bool,
    /// The caller is on this thread and may be Python: it sees the response as the app made it.
    is_in_place: bool,
    body: Option<BodySender>,
    /// How much of the body `Content-Length` still allows.
    left: Option<u64>,
    /// The app has nothing left to do once the response is sent.
    is_last: bool,
    too_long: bool,
    bodiless: bool,
    /// What was dropped because there is no body.
    dropped: usize,
    over: bool,
    gone: bool,
}

/// What became of a chunk.
#[derive(Debug)]
pub(super) enum Written {
    /// It was sent.
    Sent,
    /// It waits for room: [`ResponseWriter::wait`].
    Held(Bytes),
    /// Nothing more is wanted: the body is complete or has to be empty, or the client has left.
    Enough,
    /// It exceeds the body's length; the part within was sent.
    TooLong,
}

impl ResponseWriter {
    /// Writes the response to a request.
    pub(super) const fn new(responder: Responder, to_head_request: bool) -> Self {
        Self {
            is_in_place: matches!(responder, Responder::InPlace(_)),
            responder: Some(responder),
            head: None,
            to_head_request,
            body: None,
            is_last: false,
            left: None,
            too_long: false,
            bodiless: false,
            dropped: 0,
            over: false,
            gone: false,
        }
    }

    /// Sets the head, replacing an earlier one.
    pub(super) fn set_head(&mut self, head: EncodedHead) {
        self.head = Some(head);
    }

    /// Whether there is a head, sent or not.
    pub(super) const fn has_head(&self) -> bool {
        self.head.is_some() || self.is_sent()
    }

    /// Whether the head is sent.
    pub(super) const fn is_sent(&self) -> bool {
        self.responder.is_none()
    }

    /// Whether the response is over.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the client has left.
    pub(super) const fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether the response has no body (RFC 9110 section 6.4.1), once the head is known.
    pub(super) fn is_bodiless(&self) -> bool {
        self.head.as_ref().is_some_and(|head| self.drops_body() || has_no_body(head.status()))
    }

    /// Whether the body is dropped because of HEAD. (A Python layer above may need it, for instance to change the head.)
    const fn drops_body(&self) -> bool {
        self.to_head_request && !self.is_in_place
    }

    /// Whether a chunk of this length, which was not sent because the response has no body, and those after it are read. Up to [`MOST_DROPPED`].
    pub(super) const fn drops(&mut self, length: usize) -> bool {
        self.dropped += if length < LEAST_DROPPED { LEAST_DROPPED } else { length };
        self.bodiless && !self.gone && self.dropped <= MOST_DROPPED
    }

    /// Whether the head is known and not sent.
    pub(super) const fn awaits_body(&self) -> bool {
        self.head.is_some() && !self.is_sent()
    }

    /// Whether a server error is about to be sent.
    pub(super) fn fails(&self) -> bool {
        !self.is_sent() && self.head.as_ref().is_some_and(|head| head.status().is_server_error())
    }

    /// Declares the length of the body, unless the app did so or the head is sent.
    pub(super) fn declare(&mut self, length: usize) {
        if self.is_bodiless() {
            return;
        }
        if let Some(head) = self.head.as_mut().filter(|head| head.length().is_none()) {
            if self.is_in_place {
                head.set_length(length as u64);
            } else {
                head.declare(length as u64);
            }
        }
    }

    /// Notes that the app has nothing left to do once the response is sent.
    pub(super) const fn set_last(&mut self) {
        self.is_last = true;
    }

    /// Sends a chunk, and the head before the first one.
    pub(super) fn write(&mut self, chunk: impl AsRef<[u8]> + Into<Bytes>) -> Written {
        if self.over {
            return if self.gone || self.bodiless { Written::Enough } else { Written::TooLong };
        }
        if !self.is_sent() {
            if self.is_bodiless() {
                self.whole(Bytes::new());
                return Written::Enough;
            }
            let count = chunk.as_ref().len();
            match self.head.as_ref().and_then(EncodedHead::length) {
                Some(length) if length == count as u64 && self.responder.as_ref().is_some_and(|responder| responder.takes_whole(count)) => {
                    self.whole(chunk);
                    return Written::Sent;
                }
                length => self.start(length),
            }
        }
        let mut chunk: Bytes = chunk.into();
        if let Some(left) = &mut self.left {
            if chunk.len() as u64 > *left {
                chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                self.too_long = true;
            }
            *left -= chunk.len() as u64;
        }
        match self.body.as_ref().map_or(Err(Disconnected), |body| body.try_send(chunk)) {
            Ok(None) => self.sent(),
            Ok(Some(chunk)) => Written::Held(chunk),
            Err(Disconnected) => self.leave(),
        }
    }

    /// Sends a held chunk. Blocks this thread.
    pub(super) fn wait(&mut self, chunk: Bytes) -> Written {
        match self.body.as_ref().map_or(Err(Disconnected), |body| body.send(chunk)) {
            Ok(()) => self.sent(),
            Err(Disconnected) => self.leave(),
        }
    }

    fn sent(&mut self) -> Written {
        if !self.too_long {
            return Written::Sent;
        }
        self.finish();
        Written::TooLong
    }

    /// Sends head and body as one message. The body's length is declared, unless the app did so.
    pub(super) fn whole(&mut self, body: impl AsRef<[u8]> + Into<Bytes>) {
        self.bodiless = self.is_bodiless();
        let Some(mut head) = self.head.take() else { return };
        if has_no_body(head.status()) {
            head.remove_length();
        } else if !self.bodiless && head.length().is_none() && !self.is_in_place {
            head.declare(body.as_ref().len() as u64);
        }
        self.over = true;
        let (is_bodiless, is_last) = (self.bodiless, self.is_last);
        self.gone = self.responder.take().is_some_and(|responder| match is_bodiless {
            true => !responder.whole(head, Bytes::new(), is_last),
            false => !responder.whole(head, body, is_last),
        });
    }

    /// Sends the head and a part of a file.
    pub(super) fn file(&mut self, file: File, mut part: Range<u64>) {
        let Some(mut head) = self.head.take() else { return };
        match head.length() {
            Some(length) => part.end = part.start.saturating_add(length),
            None if self.is_in_place => {}
            None => head.declare(part.end - part.start),
        }
        self.over = true;
        self.gone = self.responder.take().is_some_and(|responder| !responder.file(head, file, part));
    }

    /// Ends the response. Returns how many octets of a declared length are missing; the body is then broken off, so that no client takes it for
    /// complete.
    pub(super) fn finish(&mut self) -> Option<u64> {
        if self.over {
            return None;
        }
        if !self.is_sent() {
            let missing = self
                .head
                .as_ref()
                .and_then(EncodedHead::length)
                .filter(|length| *length > 0 && !self.to_head_request && !self.is_bodiless());
            if missing.is_none() {
                self.whole(Bytes::new());
                return None;
            }
            self.start(missing);
        }
        self.over = true;
        let sender = self.body.take()?;
        match self.left {
            Some(left) if left > 0 && !self.to_head_request => {
                sender.fail(format!("the app ended its answer {left} octets short of its Content-Length"));
                Some(left)
            }
            _ => {
                sender.finish();
                None
            }
        }
    }

    /// Answers for an app that failed, or breaks off the body.
    pub(super) fn fail(&mut self, problem: Problem, cause: impl Display) {
        self.over = true;
        if let Some(responder) = self.responder.take() {
            responder.fail(problem);
        }
        if let Some(body) = self.body.take() {
            body.fail(cause.to_string());
        }
    }

    /// Ends the response as it is. If nothing was sent, there is none.
    pub(super) fn abandon(&mut self) {
        self.over = true;
        self.responder = None;
        self.body = None;
    }

    /// Breaks the response off with the app's exception, for a Python caller.
    pub(super) fn raise(&mut self, raised: Raised) {
        self.over = true;
        if let Some(responder) = self.responder.take() {
            responder.fail(Problem::internal(raised.clone()));
        }
        if let Some(body) = self.body.take() {
            body.fail(raised);
        }
    }

    /// Answers for a request whose body failed, if nothing is sent yet. Returns whether it did.
    pub(super) fn refuse(&mut self, failure: &Arc<BodyFailure>) -> bool {
        if self.is_sent() {
            return false;
        }
        self.fail(failure.problem(), &failure.detail);
        true
    }

    fn start(&mut self, length: Option<u64>) {
        let Some(head) = self.head.take() else { return };
        self.left = length;
        self.body = self.responder.take().and_then(|responder| responder.stream(head));
        self.gone = self.body.is_none();
    }

    fn leave(&mut self) -> Written {
        self.gone = true;
        self.over = true;
        self.body = None;
        Written::Enough
    }
}

fn has_no_body(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}
