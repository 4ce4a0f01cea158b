//! Clients that have closed their side of the connection while a response is under way.
//!
//! Such a client may still read (TCP allows it, and some scripts do), or it may be gone. Both look the same until something is sent to it: one that is gone resets the connection then.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// How long a client that has closed its side may wait for octets. Then it counts as gone, and its requests are cancelled.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A client that may be gone.
#[derive(Default)]
pub(super) struct HalfClosed {
    /// The end of its patience, and the number of octets that it was sent before.
    waits: Option<(Pin<Box<Sleep>>, u64)>,
}

impl HalfClosed {
    /// Ready when the client counts as gone. `sent` is the number of octets that it was sent so far. One that was sent something since it closed its side has not reset the connection, so it
    /// still reads.
    pub(super) fn poll_gone(&mut self, sent: u64, cx: &mut Context<'_>) -> Poll<()> {
        let (timer, before) = self.waits.get_or_insert_with(|| (Box::pin(sleep(PATIENCE)), sent));
        if sent > *before { Poll::Pending } else { timer.as_mut().poll(cx) }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_counts_as_gone_unless_it_was_sent_something() {
        for (sent, is_gone) in [(10, true), (11, false)] {
            let mut client = HalfClosed::default();
            assert!(timeout(PATIENCE / 2, poll_fn(|cx| client.poll_gone(10, cx))).await.is_err());
            assert_eq!(timeout(PATIENCE * 100, poll_fn(|cx| client.poll_gone(sent, cx))).await.is_ok(), is_gone);
        }
    }
}
