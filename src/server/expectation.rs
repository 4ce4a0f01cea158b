//! `Expect: 100-continue` over HTTP/2 and HTTP/3 (RFC 9110 section 10.1.1): a client that waits until it is asked for its body.

use std::task::Poll;

use tokio::sync::oneshot;

/// Tells when the stack first waits for a body.
pub(super) struct Expectation {
    waits: Option<oneshot::Sender<()>>,
}

impl Expectation {
    /// Of a body that comes unasked.
    pub(super) const fn none() -> Self {
        Self { waits: None }
    }

    /// Ready when the stack first waits for octets.
    pub(super) fn asked(&mut self) -> oneshot::Receiver<()> {
        let (waits, asked) = oneshot::channel();
        self.waits = Some(waits);
        asked
    }

    /// Notes how far a poll of the body came.
    pub(super) fn note<T>(&mut self, polled: &Poll<T>) {
        if polled.is_pending()
            && let Some(waits) = self.waits.take()
        {
            // It fails if the response has begun.
            let _ = waits.send(());
        }
    }
}
