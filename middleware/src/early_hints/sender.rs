//! The fact with which the layers below and the app send hints.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, LINK};
use http::{Extensions, HeaderMap};

use crate::{Request, RequestSummary};

/// Sends hints before the response: 103 (Early Hints, RFC 8297). It is among the extensions of a request where a layer has [opened](EarlyHints::open) the way, as `early_hints` does.
///
/// Sending is never an error. A hint that cannot be sent is dropped: one after the response, one over the bounds, or one to a client that has left. A hint passes no layer on its way out, so only
/// the fields pass that clients use in one, `Link` and `Content-Security-Policy`. The others, which a layer above might remove from a response, do not.
///
/// ```
/// use http::HeaderValue;
/// use http::header::LINK;
/// use ziggurat_middleware::{EarlyHints, IntoStage, Request, Response, TestStack, around};
///
/// fn hint(style: &'static str) -> impl IntoStage {
///     around(move |request: &mut Request| {
///         if let Some(hints) = EarlyHints::open(request) {
///             hints.send([(&LINK, &HeaderValue::from_static(style))]);
///         }
///         Ok(|response: Response| response)
///     })
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let stack = TestStack::stage(hint("</style.css>; rel=preload; as=style")).over_text("the page");
/// let response = stack.get("/").await;
/// assert_eq!(response.hints()[0]["link"], "</style.css>; rel=preload; as=style");
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct EarlyHints(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<HeaderMap>,
    /// Hints so far, and the octets of their fields.
    count: usize,
    octets: usize,
    /// The response has begun.
    is_closed: bool,
    /// Whoever sends them to the client.
    reader: Option<Waker>,
}

impl EarlyHints {
    /// The most hints of one request. Further ones are dropped.
    pub const MOST: usize = 16;

    /// The most octets of their names and values together. A hint that exceeds it is dropped.
    pub const MOST_OCTETS: usize = 16 << 10;

    /// Opens the way for the hints of a request: the layers below and the app find it among the extensions. `None` if the client gets none: over HTTP/1.0, through a front server of FastCGI, SCGI or
    /// uwsgi, and with a request for an upgrade.
    pub fn open(request: &mut Request) -> Option<Self> {
        let hints = RequestSummary::of(request.extensions())?.open_early_hints()?;
        request.extensions_mut().insert(hints.clone());
        Some(hints)
    }

    /// The way for hints, if a layer above has opened it.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Sends a hint with these fields, as far as they pass; none if none does.
    pub fn send<'a>(&self, fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>) {
        let mut hint = HeaderMap::new();
        let mut octets = 0;
        for (name, value) in fields.into_iter().filter(|(name, _)| passes(name)) {
            octets += name.as_str().len() + value.len();
            if octets > Self::MOST_OCTETS {
                return;
            }
            hint.append(name, value.clone());
        }
        let mut queue = self.queue();
        if hint.is_empty() || queue.is_closed || queue.count == Self::MOST || queue.octets + octets > Self::MOST_OCTETS {
            return;
        }
        queue.count += 1;
        queue.octets += octets;
        queue.waiting.push_back(hint);
        let reader = queue.reader.take();
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// How many hints there have been, without those that were dropped here.
    #[must_use]
    pub fn count(&self) -> usize {
        self.queue().count
    }

    /// The fields of the next hint, for the server, which sends it.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<HeaderMap> {
        let mut queue = self.queue();
        match queue.waiting.pop_front() {
            Some(hint) => Poll::Ready(hint),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Drops what is sent from now on: the response is there.
    pub fn close(&self) {
        self.queue().is_closed = true;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether clients use this field of a hint.
fn passes(name: &HeaderName) -> bool {
    *name == LINK || *name == CONTENT_SECURITY_POLICY
}
