//! Hints (103, RFC 8297) before a response.
//!
//! hyper sends no informational responses. The [`Guard`](super::Guard), through which it writes, sends them where a response may begin: when hyper has nothing more to write, which its flush
//! tells, and until it writes again.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Response};

use crate::server::progress::Progress;
use crate::server::response_body::ResponseBody;
use crate::server::service::ResponseFuture;

/// Hints of one connection that wait to be sent. Only the connection's own task uses it, so no memory order is needed.
#[derive(Default)]
pub(in crate::server) struct WaitingHints {
    /// Whatever hyper has written so far is sent, so a response may begin.
    is_clear: AtomicBool,
    /// Saves the lock for connections without hints.
    is_waiting: AtomicBool,
    octets: Mutex<Octets>,
}

#[derive(Default)]
struct Octets {
    rest: BytesMut,
    /// A part of the rest was sent.
    is_begun: bool,
}

impl WaitingHints {
    /// Forgets all hints: the connection gets a new parser.
    pub(super) fn begin(&self) {
        self.drop_all();
        self.is_clear.store(true, Relaxed);
    }

    /// Lets a hint wait.
    fn push(&self, fields: &HeaderMap) {
        let mut octets = self.octets();
        octets.rest.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
        for (name, value) in fields {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                octets.rest.extend_from_slice(part);
            }
        }
        octets.rest.extend_from_slice(b"\r\n");
        self.is_waiting.store(true, Relaxed);
    }

    /// The response is there, and hyper puts it behind what it has not written yet. Behind a part of an earlier response, no hint can go before it any more.
    fn respond(&self) {
        if !self.is_clear.load(Relaxed) {
            self.drop_all();
        }
    }

    /// hyper has nothing more to write.
    pub(super) fn note_flush(&self) {
        self.is_clear.store(true, Relaxed);
    }

    /// hyper writes.
    pub(super) fn note_write(&self) {
        self.is_clear.store(false, Relaxed);
    }

    /// What is to be sent now.
    pub(super) fn next(&self) -> Option<Bytes> {
        if !self.is_waiting.load(Relaxed) || !self.is_clear.load(Relaxed) {
            return None;
        }
        Some(Bytes::copy_from_slice(&self.octets().rest))
    }

    /// Notes that so many octets of it were sent.
    ///
    /// # Errors
    ///
    /// If none was: the stream takes no more.
    pub(super) fn note_sent(&self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut octets = self.octets();
        octets.rest.advance(count);
        octets.is_begun = !octets.rest.is_empty();
        self.is_waiting.store(octets.is_begun, Relaxed);
        Ok(())
    }

    /// Whether a part of a hint was sent, and nothing else may follow it.
    pub(super) fn is_cut_short(&self) -> bool {
        self.is_waiting.load(Relaxed) && self.octets().is_begun
    }

    fn drop_all(&self) {
        if self.is_waiting.swap(false, Relaxed) {
            *self.octets() = Octets::default();
        }
    }

    fn octets(&self) -> MutexGuard<'_, Octets> {
        self.octets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response whose hints the guard sends.
pub(in crate::server) struct HintedResponse {
    response: ResponseFuture,
    progress: Arc<Progress>,
}

impl HintedResponse {
    pub(in crate::server) const fn new(response: ResponseFuture, progress: Arc<Progress>) -> Self {
        Self { response, progress }
    }
}

impl Future for HintedResponse {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.response).poll(cx);
        while let Poll::Ready(fields) = this.response.poll_hint(cx) {
            this.progress.hints.push(&fields);
        }
        if polled.is_ready() {
            this.progress.hints.respond();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::LINK;

    use super::*;

    fn waiting() -> WaitingHints {
        let hints = WaitingHints::default();
        hints.begin();
        hints
    }

    fn push(hints: &WaitingHints) {
        hints.push(&HeaderMap::from_iter([(LINK, HeaderValue::from_static("<a>"))]));
    }

    const HINT: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n";

    #[test]
    fn hints_go_before_a_response_that_has_not_begun() {
        let hints = waiting();
        push(&hints);
        push(&hints);
        hints.respond();
        assert_eq!(hints.next().unwrap(), HINT.repeat(2));
        hints.note_sent(2 * HINT.len()).unwrap();
        assert_eq!(hints.next(), None);
    }

    #[test]
    fn hints_wait_for_the_end_of_the_response_before() {
        let hints = waiting();
        hints.note_write();
        push(&hints);
        assert_eq!(hints.next(), None);
        hints.note_flush();
        assert_eq!(hints.next().unwrap(), HINT);
    }

    #[test]
    fn hints_are_dropped_if_their_response_stands_behind_the_one_before() {
        let hints = waiting();
        hints.note_write();
        push(&hints);
        hints.respond();
        hints.note_flush();
        assert_eq!(hints.next(), None);
    }

    #[test]
    fn a_part_of_a_hint_is_followed_by_its_rest_and_nothing_else() {
        let hints = waiting();
        push(&hints);
        assert!(!hints.is_cut_short());
        hints.note_sent(7).unwrap();
        hints.respond();
        assert!(hints.is_cut_short());
        assert_eq!(hints.next().unwrap(), HINT[7..]);
        assert!(hints.note_sent(0).is_err());
        hints.note_sent(HINT.len() - 7).unwrap();
        assert!(!hints.is_cut_short() && hints.next().is_none());
    }
}
