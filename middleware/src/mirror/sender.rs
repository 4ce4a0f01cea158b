//! Sends copies in a task of the stack, so many at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::metrics::Counter;
use crate::{Body, BoxError, Client, Context, Place, Request, Response, Result, Summary};

/// How much of an answer is read, so that its connection can be used again.
const ANSWER: usize = 1 << 20;

/// What became of the requests that were to be copied.
#[derive(Default)]
pub(super) struct Figures {
    answered: Counter,
    failed: Counter,
    pub(super) busy: Counter,
    pub(super) body: Counter,
}

impl Figures {
    pub(super) fn scrape(self: &Arc<Self>, context: &Context) {
        let (figures, place) = (Arc::clone(self), context.place().clone());
        context.on_scrape(move |metrics| {
            let family = metrics.counter("ziggurat_mirror_requests_total", "Requests that a `mirror` layer was to copy.");
            let Self { answered, failed, busy, body } = &*figures;
            for (outcome, count) in [("answered", answered), ("failed", failed), ("busy", busy), ("body", body)] {
                family.sample(&[("place", place.as_str()), ("outcome", outcome)], count);
            }
        });
    }
}

/// The head of a copy that has room among those under way.
pub(super) struct Mirrored {
    head: http::Request<()>,
    permit: OwnedSemaphorePermit,
}

impl Mirrored {
    pub(super) const fn new(head: http::Request<()>, permit: OwnedSemaphorePermit) -> Self {
        Self { head, permit }
    }
}

/// Takes copies. It never waits.
#[derive(Clone)]
pub(super) struct Sender {
    room: Arc<Semaphore>,
    queue: mpsc::Sender<(Mirrored, Bytes)>,
}

impl Sender {
    /// Starts the task that sends.
    pub(super) fn start(context: &Context, at_once: u32, limit: Duration, figures: Arc<Figures>) -> Result<Self> {
        let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
        let (queue, mut copies) = mpsc::channel::<(Mirrored, Bytes)>(at_once);
        let (client, place) = (context.client()?, context.place().clone());
        let failures = Summary::default();
        context.spawn(async move {
            let mut under_way = FuturesUnordered::new();
            loop {
                tokio::select! {
                    Some((Mirrored { head, permit }, octets)) = copies.recv() => {
                        let sent = timeout(limit, send(client.clone(), head.map(|()| Body::from(octets))));
                        under_way.push(async move { (sent.await, permit) });
                    }
                    Some((sent, _permit)) = under_way.next() => match sent {
                        Ok(Ok(())) => figures.answered.add(1),
                        Ok(Err(error)) => fail(&figures, &failures, &place, &error.to_string()),
                        Err(_) => fail(&figures, &failures, &place, &format!("there was no answer within {limit:?}")),
                    },
                    else => return,
                }
            }
        });
        Ok(Self { room: Arc::new(Semaphore::new(at_once)), queue })
    }

    /// Room for a copy, if there is some.
    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    pub(super) fn send(&self, copy: Mirrored, body: Bytes) {
        // There is a place in the queue for each permit. The task has ended where the stack has.
        let _ = self.queue.try_send((copy, body));
    }
}

/// Sends a copy, and reads its answer.
async fn send(client: Client, copy: Request) -> Result<(), BoxError> {
    let mut answer: Response = client.send(copy).await?;
    let mut read = 0;
    while let Some(frame) = answer.body_mut().frame().await {
        read += frame?.data_ref().map_or(0, Bytes::len);
        if read > ANSWER {
            break;
        }
    }
    Ok(())
}

fn fail(figures: &Figures, failures: &Summary<()>, place: &Place, cause: &str) {
    figures.failed.add(1);
    let of = place.clone();
    let sum_up = move |count, latest, seconds| {
        tracing::warn!(place = of.as_str(), "{count} more copies failed within {seconds} s, the last one for this reason: {latest}");
    };
    if failures.begins((), || cause.to_owned(), sum_up) {
        tracing::warn!(place = place.as_str(), "a copy of a request failed: {cause}");
    }
}
