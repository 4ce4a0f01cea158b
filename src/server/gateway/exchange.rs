//! One request of a front server and its response. Both go on at once: the body arrives while the response is sent.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Sleep, sleep};
use ziggurat_middleware::{BoxError, hop_by_hop};

use crate::body_channel::{self, BodySender};
use crate::gateway::front::{Event, Front};
use crate::gateway::{Malformed, ResponseHead};
use crate::server::io::Io;
use crate::server::progress::Progress;
use crate::server::response_body::{ResponseBody, ResponseGuard};
use crate::server::service::{RequestService, ResponseFuture};

/// How an exchange ended.
pub(super) enum Outcome {
    /// The response is sent. The flag tells whether the request's body has come whole.
    Complete(bool),
    /// The front server has closed the connection, or it cannot be written to.
    Closed,
    /// The front server does not want the response any more.
    Aborted,
    /// What it sends is malformed.
    Malformed(Malformed),
    /// The front server takes nothing of the response.
    Stalled,
    /// The body of the response broke off.
    Incomplete(BoxError),
    /// The time of the stack is over.
    Cut,
    /// Others wait, and the body arrives slowly.
    Evicted,
}

/// An exchange under way.
pub(super) struct Exchange<'a, S, F> {
    stream: &'a mut S,
    front: &'a mut F,
    /// What has come and is not read yet.
    received: &'a mut BytesMut,
    /// What is to be sent.
    out: BytesMut,
    /// Whether the stream may hold back what it has taken.
    is_held_back: bool,
    body: BodySender,
    response: State,
    is_head: bool,
    /// The longest time in which the front server may take nothing.
    pause: Duration,
    stall: Option<Pin<Box<Sleep>>>,
    progress: &'a Arc<Progress>,
}

enum State {
    Called(ResponseFuture),
    /// So much of the body is to come, if that is known.
    Body(ResponseBody, Option<u64>),
    Done,
    /// The body broke off. What came before it is sent.
    Broken(BoxError),
}

/// How much of a response waits to be sent before more of it is asked for.
const HIGH_WATER: usize = 64 << 10;

/// How much of a body is read at once.
const READ: usize = 16 << 10;

/// Behind the body, little comes before the response.
const MORE: usize = 64;

/// How much the protocol adds to a short response.
const OVERHEAD: usize = 64;

/// Room for the head of most responses.
const HEAD: usize = 512;

/// How long the body of a request may go on behind the response, if the connection is kept.
const LINGER: Duration = Duration::from_secs(2);

/// How much may wait to be sent when a front server that asks again and again reads nothing.
const MOST_WAITING: usize = 1 << 20;

impl<'a, S: Io, F: Front> Exchange<'a, S, F> {
    /// Passes a request to the stack. `length` is that of its body, if it is known.
    pub(super) fn begin(
        (stream, received): (&'a mut S, &'a mut BytesMut),
        front: &'a mut F,
        (parts, length): (Parts, Option<u64>),
        service: &RequestService,
        pause: Duration,
        progress: &'a Arc<Progress>,
    ) -> Self {
        let is_head = parts.method == Method::HEAD;
        progress.begin_request();
        let (sender, body) = body_channel::channel(length);
        let response = service.serve(http::Request::from_parts(parts, body), ResponseGuard::new(progress, false));
        let (out, response) = (BytesMut::new(), State::Called(response));
        Self { stream, front, received, out, is_held_back: false, body: sender, response, is_head, pause, stall: None, progress }
    }

    /// Whether a part of the response is sent or waits to be sent.
    pub(super) const fn has_response(&self) -> bool {
        !matches!(self.response, State::Called(_))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let connection = &self.progress.connection;
        connection.should_close(cx.waker());
        if connection.is_cut() {
            return Poll::Ready(Outcome::Cut);
        }
        if connection.is_evicted() {
            return Poll::Ready(Outcome::Evicted);
        }
        loop {
            if let Poll::Ready(outcome) = self.poll_request(cx) {
                return Poll::Ready(outcome);
            }
            if let Poll::Ready(Err(error)) = self.poll_response(cx) {
                self.response = State::Broken(error);
            }
            if self.out.is_empty() && !self.is_held_back {
                return match std::mem::replace(&mut self.response, State::Done) {
                    State::Done => self.poll_end(cx).map(Outcome::Complete),
                    State::Broken(error) => Poll::Ready(Outcome::Incomplete(error)),
                    waiting => {
                        self.response = waiting;
                        Poll::Pending
                    }
                };
            }
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(outcome)) => return Poll::Ready(outcome),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether both sides are complete, so that what follows is the next request.
    const fn is_over(&self) -> bool {
        self.body.is_ended() && matches!(self.response, State::Done)
    }

    /// Reads what the front server sends, as far as the stack takes it.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        while self.out.len() < MOST_WAITING && !self.is_over() && self.body.poll_room(cx).is_ready() {
            match self.front.take(self.received) {
                Ok(Some(Event::Data(octets))) => self.body.send(octets),
                Ok(Some(Event::End)) => self.body.end(),
                Ok(Some(Event::Abort)) => return Poll::Ready(Outcome::Aborted),
                Ok(Some(Event::Reply(octets))) => self.out.extend_from_slice(&octets),
                // The current request is over before the next one begins.
                Ok(Some(Event::Request(..))) => return Poll::Ready(Outcome::Malformed(OVERLAP)),
                Err(malformed) => return Poll::Ready(Outcome::Malformed(malformed)),
                Ok(None) => match poll_read(self.stream, self.received, if self.body.is_ended() { MORE } else { READ }, cx) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(Outcome::Closed),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
        Poll::Pending
    }

    /// Puts the response into `out`, as far as there is room.
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        while self.out.len() < HIGH_WATER {
            match &mut self.response {
                State::Called(response) => {
                    let Poll::Ready(response) = pin!(response).poll(cx) else { return Poll::Pending };
                    match response {
                        Ok(response) => self.begin_response(response),
                        Err(never) => match never {},
                    }
                }
                State::Body(body, left) => match Pin::new(body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        // There are no trailers in these protocols.
                        let Ok(data) = frame.into_data() else { continue };
                        if let Some(left) = left {
                            let rest = left.checked_sub(data.len() as u64);
                            *left = rest.ok_or("the body of the response is longer than its `Content-Length`")?;
                        }
                        self.front.write(&data, &mut self.out);
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) if left.is_some_and(|left| left > 0) => {
                        return Poll::Ready(Err("the body of the response is shorter than its `Content-Length`".into()));
                    }
                    Poll::Ready(None) => {
                        self.front.end(&mut self.out);
                        self.response = State::Done;
                    }
                    Poll::Pending => return Poll::Pending,
                },
                State::Done | State::Broken(_) => return Poll::Ready(Ok(())),
            }
        }
        Poll::Pending
    }

    fn begin_response(&mut self, response: Response<ResponseBody>) {
        let (mut parts, body) = response.into_parts();
        hop_by_hop::remove_all(&mut parts.headers);
        let has_body = !self.is_head && !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if let (true, Some(length)) = (has_body, body.size_hint().exact()) {
            parts.headers.entry(CONTENT_LENGTH).or_insert(length.into());
        }
        let length = parts.headers.get(CONTENT_LENGTH).filter(|_| has_body);
        let left = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let mut head = BytesMut::with_capacity(HEAD);
        ResponseHead::write(self.front.form(), parts.status, &parts.headers, &mut head);
        let room = body.size_hint().lower().min(HIGH_WATER as u64) as usize;
        self.out.reserve(head.len() + room + OVERHEAD);
        self.front.write(&head, &mut self.out);
        self.response = State::Body(body, left);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Outcome>> {
        let mut stream = Pin::new(&mut *self.stream);
        let written = if self.out.is_empty() { stream.poll_flush(cx).map_ok(|()| 0) } else { stream.as_mut().poll_write(cx, &self.out) };
        match written {
            Poll::Ready(Ok(0)) if !self.out.is_empty() => Poll::Ready(Err(Outcome::Closed)),
            Poll::Ready(Ok(written)) => {
                self.is_held_back = !self.out.is_empty();
                self.out.advance(written);
                self.stall = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Outcome::Closed)),
            Poll::Pending => {
                let pause = self.pause;
                let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(pause)));
                stall.as_mut().poll(cx).map(|()| Err(Outcome::Stalled))
            }
        }
    }

    /// Waits for the rest of the request's body, which nobody reads any more. Returns whether it has come.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.body.is_ended() || !self.front.goes_on() {
            return Poll::Ready(self.body.is_ended());
        }
        let linger = self.stall.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        linger.as_mut().poll(cx).map(|()| false)
    }

    /// What is left to send.
    pub(super) fn into_out(self) -> BytesMut {
        self.out
    }
}

const OVERLAP: Malformed = Malformed::Syntax("a request begins before the response to the one before");

/// Reads up to `most` octets. `false` at the end of the stream, or if it cannot be read.
pub(super) fn poll_read(stream: &mut (impl AsyncRead + Unpin), received: &mut BytesMut, most: usize, cx: &mut Context<'_>) -> Poll<bool> {
    received.reserve(most);
    pin!(stream.read_buf(received)).poll(cx).map(|read| read.is_ok_and(|read| read > 0))
}

/// Appends the response to a request that the server refuses.
pub(super) fn write_refusal<F: Front>(front: &mut F, status: StatusCode, text: &str, out: &mut BytesMut) {
    let mut head = BytesMut::new();
    let text = format!("{status}\n{text}\n");
    let headers = [("content-type", "text/plain; charset=utf-8".to_owned()), ("content-length", text.len().to_string())];
    let headers = headers.into_iter().filter_map(|(name, value)| Some((http::HeaderName::from_static(name), value.parse().ok()?)));
    ResponseHead::write(front.form(), status, &headers.collect(), &mut head);
    front.write(&[&head, text.as_bytes()].concat(), out);
    front.end(out);
}
