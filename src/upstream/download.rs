//! The body of a response from an upstream.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use ziggurat_middleware::{BoxError, Place, RequestSummary};

use super::admit::EndpointPermit;
use super::failure::{Failure, FailureKind, FailurePhase};
use super::pool::Lease;
use super::protocol::{Connection, Protocol};
use super::trailers;

/// A response body that holds its connection and its permit until its end. It fails if the upstream pauses for too long or closes too early.
pub(crate) struct Download<P: Protocol> {
    body: <P::Connection as Connection>::Body,
    /// Released at the end of the body.
    lease: Option<Lease<P>>,
    permit: Option<EndpointPermit<P>>,
    idle: Duration,
    /// Created at the first pause.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    place: Place,
    summary: Option<RequestSummary>,
}

impl<P: Protocol> Download<P> {
    pub(super) fn new(
        body: <P::Connection as Connection>::Body,
        lease: Lease<P>,
        idle: Duration,
        place: &Place,
        summary: Option<RequestSummary>,
    ) -> Self {
        Self { body, lease: Some(lease), permit: None, idle, timer: None, is_waiting: false, place: place.clone(), summary }
    }

    /// Holds the permit, too. Without a tunnel, a body that is empty releases both now.
    pub(super) fn hold(&mut self, permit: Option<EndpointPermit<P>>, is_tunnel: bool) {
        self.permit = permit;
        if !is_tunnel {
            self.end_early();
        }
    }

    /// The connection and the permit, for a tunnel.
    pub(crate) fn into_tunnel(mut self) -> (Option<Lease<P>>, Option<EndpointPermit<P>>) {
        (self.lease.take(), self.permit.take())
    }

    /// Releases the connection before the last read if nothing follows.
    fn end_early(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
        self.permit = None;
    }

    fn fail(&mut self, failure: Failure) -> BoxError {
        self.lease = None;
        if let Some(mut permit) = self.permit.take() {
            permit.failed(&failure);
            let summary = self.summary.as_ref();
            let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
            let (upstream, phase) = (&*permit.endpoint().label, failure.phase.as_str());
            tracing::warn!(request_id, request, app = self.place.as_str(), upstream, phase, "{}: {failure}", failure.kind.as_str());
        }
        failure.into()
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.idle)));
        if !self.is_waiting {
            self.is_waiting = true;
            timer.as_mut().reset(Instant::now() + self.idle);
        }
        timer.as_mut().poll(cx)
    }
}

/// No field is pinned.
impl<P: Protocol> Unpin for Download<P> {}

impl<P: Protocol> Body for Download<P> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                self.is_waiting = false;
                match frame.trailers_mut() {
                    Some(trailers) => {
                        trailers::clean(trailers);
                        // Trailers are last. hyper does not poll after them.
                        self.end();
                    }
                    None => self.end_early(),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let failure = Failure::new(FailureKind::Cut, FailurePhase::Body, error);
                Poll::Ready(Some(Err(self.fail(failure))))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending if self.lease.is_some() && self.poll_idle(cx).is_ready() => {
                let failure = Failure::new(FailureKind::Timeout, FailurePhase::Body, format!("nothing of the body within {:?}", self.idle));
                Poll::Ready(Some(Err(self.fail(failure))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
