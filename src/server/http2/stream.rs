//! One request of an HTTP/2 connection, and its response.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Response;
use http_body::Body as _;
use ziggurat_middleware::BoxError;

use super::connect::Connecting;
use crate::server::multiplexed_head;
use crate::server::response_body::ResponseBody;
use crate::server::service::{Chain, ResponseFuture};

/// The exchange of one stream. Dropped before its end, it resets the stream.
pub(super) struct Stream {
    reply: SendResponse<Bytes>,
    state: State,
}

enum State {
    /// The stack has not responded.
    Called {
        response: ResponseFuture,
        connecting: Option<Connecting>,
    },
    Responding(SendingBody),
}

impl Stream {
    pub(super) const fn new(reply: SendResponse<Bytes>, response: ResponseFuture, connecting: Option<Connecting>) -> Self {
        Self { reply, state: State::Called { response, connecting } }
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            match &mut self.state {
                State::Called { response, connecting } => {
                    let polled = Pin::new(&mut *response).poll(cx);
                    while let Poll::Ready(fields) = response.poll_hint(cx) {
                        // h2 would send it after a reset, too. What cannot be sent any more is dropped.
                        if self.reply.poll_reset(cx).is_pending() {
                            let _ = self.reply.send_informational(multiplexed_head::hint(fields));
                        }
                    }
                    let Poll::Ready(Ok(response)) = polled else {
                        // A client that resets the stream cancels the request.
                        return Poll::Ready(Err(h2::Error::from(ready!(self.reply.poll_reset(cx))?).into()));
                    };
                    let connecting = connecting.take().filter(|_| response.status().is_success());
                    let (mut parts, body) = response.into_parts();
                    multiplexed_head::complete(&mut parts, &body);
                    let is_whole = connecting.is_none() && body.is_end_stream();
                    let sender = match self.reply.send_response(Response::from_parts(parts, ()), is_whole) {
                        Ok(sender) => sender,
                        Err(error) => {
                            self.reply.send_reset(Reason::INTERNAL_ERROR);
                            return Poll::Ready(Err(error.into()));
                        }
                    };
                    match connecting {
                        Some(connecting) => connecting.connect(sender),
                        None if is_whole => {}
                        None => {
                            self.state = State::Responding(SendingBody { sender, body, waiting: None });
                            continue;
                        }
                    }
                    return Poll::Ready(Ok(()));
                }
                State::Responding(sending) => return sending.poll(cx),
            }
        }
    }
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_exchange(cx).map(|outcome| {
            if let Err(error) = outcome {
                tracing::debug!("a stream of HTTP/2 failed: {}", Chain(&*error));
            }
        })
    }
}

/// A body on its way to the client.
struct SendingBody {
    sender: SendStream<Bytes>,
    body: ResponseBody,
    /// A chunk that the client's windows have no room for, and whether it is the last one.
    waiting: Option<(Bytes, bool)>,
}

impl SendingBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            // It wakes the task, too, if the client resets the stream while the body or the windows are waited for.
            if let Poll::Ready(reason) = self.sender.poll_reset(cx)? {
                return Poll::Ready(Err(h2::Error::from(reason).into()));
            }
            if self.waiting.is_some() {
                ready!(poll_room(&mut self.sender, cx))?;
            }
            if let Some((data, is_last)) = self.waiting.take() {
                self.sender.send_data(data, is_last)?;
                if is_last {
                    return Poll::Ready(Ok(()));
                }
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.sender.send_reset(reason_of(&*error));
                    return Poll::Ready(Err(error));
                }
                None => {
                    self.sender.send_data(Bytes::new(), true)?;
                    return Poll::Ready(Ok(()));
                }
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    reserve(&mut self.sender);
                    self.waiting = Some((data, self.body.is_end_stream()));
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        // There is no more data.
                        self.sender.reserve_capacity(0);
                        self.sender.send_trailers(trailers)?;
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

/// Asks for room in the client's windows. One octet is asked for, and only once there is something to send: what a stream has reserved of the connection's window, no other stream
/// has. [`SendStream::send_data`] asks for the rest.
pub(super) fn reserve(sender: &mut SendStream<Bytes>) {
    sender.reserve_capacity(1);
}

/// Waits for the room that was asked for.
pub(super) fn poll_room(sender: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
    while sender.capacity() == 0 {
        match ready!(sender.poll_capacity(cx)) {
            Some(capacity) => _ = capacity?,
            // It has ended, or was reset.
            None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
        }
    }
    Poll::Ready(Ok(()))
}

/// What the client is told: the reason of the stream of HTTP/2 whose end has cut the body short, if there is one.
fn reason_of(error: &(dyn Error + 'static)) -> Reason {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(reason) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            return reason;
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}
