//! A request's body on its way into the stack.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use ziggurat_middleware::{BoxError, Problem};

/// A body that fails if no octet of it arrives for too long. Its errors are [`Problem`]s, so that a layer which returns them responds with 408 or
/// 400.
pub(super) struct RequestBody<B> {
    body: B,
    pause: Duration,
    /// Made when the body first has to wait.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl<B> RequestBody<B> {
    /// `pause` is the longest time between two frames.
    pub(super) const fn new(body: B, pause: Duration) -> Self {
        Self { body, pause, timer: None, is_waiting: false }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.pause)));
        if !self.is_waiting {
            self.is_waiting = true;
            timer.as_mut().reset(Instant::now() + self.pause);
        }
        timer.as_mut().poll(cx)
    }
}

/// Whether trailers have fields that only heads may have. In HTTP/1, the guard refuses them.
fn has_framing(trailers: &HeaderMap) -> bool {
    [CONTENT_LENGTH, HOST, TRANSFER_ENCODING].iter().any(|name| trailers.contains_key(name))
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
                self.is_waiting = false;
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
                let late = Problem::new(StatusCode::REQUEST_TIMEOUT).detail("no part of the request body arrived for too long");
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
