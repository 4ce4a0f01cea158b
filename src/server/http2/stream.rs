//! One request of an HTTP/2 connection, and its response.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Response;
use http_body::Body as _;
use tokio::sync::oneshot;
use ziggurat_middleware::BoxError;

use super::connect::Connecting;
use super::cork::Cork;
use crate::server::multiplexed_head;
use crate::server::response_body::ResponseBody;
use crate::server::service::{Chain, ResponseFuture};

/// The exchange of one stream. Dropped before its end, it resets the stream.
pub(super) struct Stream {
    reply: SendResponse<Bytes>,
    state: State,
    cork: Arc<Cork>,
}

enum State {
    /// The stack has not responded.
    Called {
        response: ResponseFuture,
        connecting: Option<Connecting>,
        /// Of a client that waits until the stack asks for its body.
        is_asked: Option<oneshot::Receiver<()>>,
    },
    Responding(SendingBody),
}

impl Stream {
    /// `is_asked` is of a request with `Expect: 100-continue`, and ready when the stack waits for its body.
    pub(super) fn of_request(
        reply: SendResponse<Bytes>,
        response: ResponseFuture,
        is_asked: Option<oneshot::Receiver<()>>,
        cork: &Arc<Cork>,
    ) -> Self {
        Self { reply, state: State::Called { response, connecting: None, is_asked }, cork: Arc::clone(cork) }
    }

    pub(super) fn of_connect(reply: SendResponse<Bytes>, response: ResponseFuture, connecting: Connecting, cork: &Arc<Cork>) -> Self {
        Self { reply, state: State::Called { response, connecting: Some(connecting), is_asked: None }, cork: Arc::clone(cork) }
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            match &mut self.state {
                State::Called { response, connecting, is_asked } => {
                    let polled = Pin::new(&mut *response).poll(cx);
                    while let Poll::Ready(fields) = response.poll_hint(cx) {
                        // h2 would send it after a reset, too. What cannot be sent any more is dropped.
                        if self.reply.poll_reset(cx).is_pending() {
                            let _ = self.reply.send_informational(multiplexed_head::hint(fields));
                        }
                    }
                    let Poll::Ready(Ok(response)) = polled else {
                        if let Some(Poll::Ready(asked)) = is_asked.as_mut().map(|is_asked| Pin::new(is_asked).poll(cx)) {
                            *is_asked = None;
                            if asked.is_ok() && self.reply.poll_reset(cx).is_pending() {
                                // It fails where nothing can be sent any more.
                                let _ = self.reply.send_informational(multiplexed_head::go_on());
                            }
                        }
                        // A client that resets the stream cancels the request.
                        return Poll::Ready(Err(h2::Error::from(ready!(self.reply.poll_reset(cx))?).into()));
                    };
                    let connecting = connecting.take().filter(|_| response.status().is_success());
                    let (mut parts, body) = response.into_parts();
                    multiplexed_head::complete(&mut parts, &body);
                    let is_whole = connecting.is_none() && body.is_end_stream();
                    let queued = self.cork.turn();
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
                            self.state = State::Responding(SendingBody {
                                sender,
                                body,
                                waiting: None,
                                queued,
                                cork: Arc::clone(&self.cork),
                                failed: None,
                            });
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
    cork: Arc<Cork>,
    /// The turn of the connection's task before something was last queued for the client.
    queued: u32,
    failed: Option<Failed>,
}

/// A body that has broken off. h2 drops what is queued when it resets a stream, so the head and the octets that came before go out first.
struct Failed {
    error: BoxError,
    reason: Reason,
    sent: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl SendingBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            // It wakes the task, too, if the client resets the stream while the body or the windows are waited for.
            if let Poll::Ready(reason) = self.sender.poll_reset(cx)? {
                return Poll::Ready(Err(h2::Error::from(reason).into()));
            }
            if let Some(failed) = &mut self.failed {
                ready!(failed.sent.as_mut().poll(cx));
            }
            if let Some(Failed { error, reason, .. }) = self.failed.take() {
                self.sender.send_reset(reason);
                return Poll::Ready(Err(error));
            }
            if self.waiting.is_some() {
                ready!(poll_room(&mut self.sender, cx))?;
            }
            if let Some((data, is_last)) = self.waiting.take() {
                self.queued = self.cork.turn();
                self.sender.send_data(data, is_last)?;
                if is_last {
                    return Poll::Ready(Ok(()));
                }
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    let sent = Box::pin(Arc::clone(&self.cork).after(self.queued));
                    self.failed = Some(Failed { reason: reason_of(&*error), error, sent });
                    continue;
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
