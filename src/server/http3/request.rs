//! One request of an HTTP/3 connection, and its response.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http::header::EXPECT;
use http::{Request, Response, StatusCode, Version};
use tokio::sync::oneshot;
use tokio::time::timeout;
use ziggurat_middleware::spool::ConnectionRoom;

use super::body::Http3Body;
use super::quic::{BidiStream, QuicConnection, SendStream};
use super::response::{Failure, send};
use super::wire::{RequestStreamState, Wire};
use crate::server::http1::fields;
use crate::server::limits::Limits;
use crate::server::multiplexed_head;
use crate::server::progress::Progress;
use crate::server::refusal::Refusal;
use crate::server::request_metrics::EndedRequest;
use crate::server::response_body::{ResponseBody, ResponseGuard, StreamProgress};
use crate::server::service::{Chain, RequestService, ResponseFuture};
use crate::server::stream_task::StreamTask;

const TOO_LARGE: Refusal = Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's headers are too large");

/// What the requests of a connection share.
pub(super) struct Requests {
    pub(super) service: Arc<RequestService>,
    pub(super) progress: Arc<Progress>,
    pub(super) limits: Arc<Limits>,
    pub(super) wire: Arc<Wire>,
    /// The memory that request bodies may take.
    pub(super) room: ConnectionRoom,
}

impl Requests {
    /// Serves one request, until the client has acknowledged the response.
    pub(super) async fn serve(self: Arc<Self>, resolver: RequestResolver<QuicConnection, Bytes>, state: Arc<RequestStreamState>) {
        let Some(mut stopped) = state.stopped() else { return };
        let Some((request, stream)) = self.head(resolver).await else { return };
        let progress = Arc::<StreamProgress>::default();
        let exchange = StreamTask::new(self.exchange(request, stream, &state, Arc::clone(&progress)), progress, self.limits.body_timeout);
        let is_unwanted = {
            let mut exchange = pin!(exchange);
            tokio::select! {
                biased;
                () = &mut exchange => None,
                is_unwanted = &mut stopped => Some(is_unwanted),
            }
        };
        let is_unwanted = match is_unwanted {
            Some(is_unwanted) => is_unwanted,
            // The exchange is dropped: its stream is finished or reset.
            None => timeout(self.limits.body_timeout, stopped).await.unwrap_or_default(),
        };
        if is_unwanted {
            // Clients may cancel requests, but not as fast as they can.
            self.wire.spend();
        }
    }

    /// Waits for the head. `None` if it does not come, or is malformed.
    async fn head(&self, resolver: RequestResolver<QuicConnection, Bytes>) -> Option<(Request<()>, RequestStream<BidiStream, Bytes>)> {
        let cause = match timeout(self.limits.header_timeout, resolver.resolve_request()).await {
            Ok(Ok(resolved)) => return Some(resolved),
            Ok(Err(StreamError::HeaderTooBig { .. })) => {
                // h3 has responded.
                self.service.log_refusal(TOO_LARGE);
                self.progress.connection.count_refusal(&EndedRequest::refused(TOO_LARGE.status));
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the head of a request came too slowly".to_owned(),
        };
        self.service.log_failure(cause);
        self.wire.spend();
        None
    }

    /// Calls the stack, and sends its response.
    async fn exchange(
        &self,
        request: Request<()>,
        stream: RequestStream<BidiStream, Bytes>,
        state: &RequestStreamState,
        progress: Arc<StreamProgress>,
    ) {
        let (mut parts, ()) = request.into_parts();
        parts.version = Version::HTTP_3;
        if let Some(refusal) = state.refusal.get() {
            parts.extensions.insert(*refusal);
        }
        let (mut sender, receiver) = stream.split();
        let mut body = Http3Body::new(receiver, fields::stated_length(&parts.headers));
        poll_fn(|cx| {
            body.peek(cx);
            Poll::Ready(())
        })
        .await;
        let has_body = !http_body::Body::is_end_stream(&body);
        let is_asked = (has_body && parts.headers.contains_key(EXPECT)).then(|| body.expectation.asked());
        if has_body {
            parts.extensions.insert(self.room.clone());
        }
        let guard = ResponseGuard::of_stream(&self.progress, progress);
        let mut called = self.service.serve(Request::from_parts(parts, body), guard);
        if let Some(response) = self.response(&mut called, is_asked, &mut sender).await {
            self.respond(response, &mut sender).await;
        }
    }

    /// Waits for the response, and sends the informational ones before it. `None` if the client does not take one.
    async fn response(
        &self,
        called: &mut ResponseFuture,
        mut is_asked: Option<oneshot::Receiver<()>>,
        sender: &mut RequestStream<SendStream, Bytes>,
    ) -> Option<Response<ResponseBody>> {
        let mut response = None;
        loop {
            let interim = poll_fn(|cx| {
                if response.is_none()
                    && let Poll::Ready(Ok(ready)) = Pin::new(&mut *called).poll(cx)
                {
                    response = Some(ready);
                }
                // What was hinted at until the response is there goes before it.
                if let Poll::Ready(fields) = called.poll_hint(cx) {
                    return Poll::Ready(Some(multiplexed_head::hint(fields)));
                }
                if response.is_some() {
                    return Poll::Ready(None);
                }
                match is_asked.as_mut().map(|is_asked| Pin::new(is_asked).poll(cx)) {
                    Some(Poll::Ready(asked)) => {
                        is_asked = None;
                        // It fails if the response has begun.
                        asked.map_or(Poll::Pending, |()| Poll::Ready(Some(multiplexed_head::go_on())))
                    }
                    _ => Poll::Pending,
                }
            });
            let Some(interim) = interim.await else { return response };
            match timeout(self.limits.body_timeout, sender.send_response(interim)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.service.log_failure(error);
                    return None;
                }
                Err(_) => {
                    self.service.log_failure("the client took the response too slowly, or not at all");
                    return None;
                }
            }
        }
    }

    async fn respond(&self, response: Response<ResponseBody>, sender: &mut RequestStream<SendStream, Bytes>) {
        if let Err(failure) = send(response, sender).await {
            sender.stop_stream(Code::H3_INTERNAL_ERROR);
            match failure {
                Failure::Body(error) => self.service.log_failure(Chain(&*error)),
                Failure::Stream(error) => self.service.log_failure(error),
                Failure::Length => self.service.log_failure("a response has not as many octets as its `Content-Length` says"),
            }
        }
    }
}
