//! A request's body on its way into the stack.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use ziggurat_middleware::{BoxError, Problem};

use super::limits::Limits;
use super::progress::Progress;

/// A body that fails if it arrives too slowly: after a pause, below the least rate, or after its time. Its errors are [`Problem`]s, so that a layer which
/// returns them responds with 408 or 400.
pub(super) struct RequestBody<B> {
    body: B,
    pause: Duration,
    rate: u64,
    until: Option<Instant>,
    /// Its octets so far. The metrics read them too.
    received: Arc<AtomicU64>,
    /// How long the stack has waited for the client in all.
    waited: Duration,
    /// Since when it waits now.
    since: Option<Instant>,
    /// Whose upload it is.
    progress: Arc<Progress>,
    /// Made when the body first has to wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> RequestBody<B> {
    /// Counts its octets in `received`, which is 0.
    pub(super) fn new(body: B, limits: &Limits, progress: Arc<Progress>, received: Arc<AtomicU64>) -> Self {
        let until = limits.body_time.and_then(|time| Instant::now().checked_add(time));
        Self {
            body,
            pause: limits.body_timeout,
            rate: limits.min_rate,
            until,
            received,
            waited: Duration::ZERO,
            since: None,
            progress,
            timer: None,
        }
    }

    /// How long the client may go on sending nothing.
    fn patience(&self) -> Duration {
        match self.received.load(Relaxed).checked_div(self.rate) {
            Some(seconds) => self.pause.min((self.pause + Duration::from_secs(seconds)).saturating_sub(self.waited)),
            None => self.pause,
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let due = now + self.patience();
        let due = self.until.map_or(due, |until| until.min(due));
        if self.timer.is_none() {
            self.progress.connection.begin_upload();
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if self.since.is_none() {
            self.since = Some(now);
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }
}

/// Whether trailers have fields that only heads may have. In HTTP/1, the guard refuses them.
fn has_framing(trailers: &HeaderMap) -> bool {
    [CONTENT_LENGTH, HOST, TRANSFER_ENCODING].iter().any(|name| trailers.contains_key(name))
}

impl<B> Drop for RequestBody<B> {
    fn drop(&mut self) {
        if self.timer.is_some() {
            self.progress.connection.end_upload();
        }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(since) = self.since.take() {
                    self.waited += since.elapsed();
                }
                if let Some(Ok(frame)) = &frame {
                    let octets = frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.received.fetch_add(octets, Relaxed);
                    self.progress.connection.count_upload(octets);
                }
                let malformed = Problem::new(StatusCode::BAD_REQUEST).detail("the request body is cut short or malformed");
                Poll::Ready(frame.map(|frame| match frame {
                    Ok(frame) if frame.trailers_ref().is_some_and(has_framing) => {
                        Err(malformed.because("a trailer has a name that is only allowed in the head").into())
                    }
                    Ok(frame) => Ok(frame),
                    Err(error) => Err(malformed.because(error).into()),
                }))
            }
            Poll::Pending => {
                ready!(self.poll_timer(cx));
                let late = Problem::new(StatusCode::REQUEST_TIMEOUT).detail("the request body arrived too slowly, or not at all");
                Poll::Ready(Some(Err(late.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::time::sleep;

    use super::*;
    use crate::server::Options;
    use crate::server::connection_table::ConnectionTable;

    /// The status with which a body of `count` octets, one every `gap`, ends.
    async fn outcome(limits: &Limits, gap: Duration, count: u32) -> Result<usize, u16> {
        let frames = Box::pin(stream::unfold(0, move |nth| async move {
            sleep(gap).await;
            (nth < count).then(|| (Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"x"))), nth + 1))
        }));
        let progress = Arc::new(Progress::new(Arc::new(ConnectionTable::new()).insert(0)));
        let collected = RequestBody::new(StreamBody::new(frames), limits, progress, Arc::default()).collect().await;
        let status = |error: BoxError| error.downcast::<Problem>().unwrap().status().as_u16();
        collected.map(|body| body.to_bytes().len()).map_err(status)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_ends_after_a_pause_below_the_least_rate_and_after_its_time() {
        let second = Duration::from_secs(1);
        let limits = Limits { body_timeout: 30 * second, min_rate: 0, body_time: None, ..Limits::from(&Options::default()) };
        assert_eq!(outcome(&limits, 29 * second, 100).await, Ok(100));
        assert_eq!(outcome(&limits, 31 * second, 1).await, Err(408));
        let rated = Limits { min_rate: 2, ..limits.clone() };
        assert_eq!(outcome(&rated, 29 * second, 100).await, Err(408));
        assert_eq!(outcome(&rated, second / 4, 1_000).await, Ok(1_000));
        let timed = Limits { body_time: Some(60 * second), ..limits };
        assert_eq!(outcome(&timed, second, 50).await, Ok(50));
        assert_eq!(outcome(&timed, second, 70).await, Err(408));
    }
}
