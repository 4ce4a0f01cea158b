//! The requests of an HTTP/2 connection. Each that is not answered at once is a task.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::EXPECT;
use http::{Method, Request};
use http_body::Body as _;
use http_body_util::Empty;
use ziggurat_middleware::spool::ConnectionRoom;

use super::body::Http2Body;
use super::connect::Connecting;
use super::cork::Cork;
use super::stream::Stream;
use crate::server::http1::fields;
use crate::server::progress::Progress;
use crate::server::response_body::{ResponseGuard, StreamProgress};
use crate::server::service::RequestService;
use crate::server::stream_task::{StreamTask, body_room};

pub(super) struct Requests {
    service: Arc<RequestService>,
    progress: Arc<Progress>,
    /// The memory that request bodies may take.
    room: ConnectionRoom,
    cork: Arc<Cork>,
    /// The longest time in which a client may read nothing of a response.
    pause: Duration,
}

impl Requests {
    pub(super) fn new(service: Arc<RequestService>, progress: Arc<Progress>, cork: Arc<Cork>, pause: Duration) -> Self {
        Self { service, progress, room: body_room(), cork, pause }
    }

    /// Calls the stack. The connection's task answers what it can at once.
    pub(super) fn begin(&self, request: Request<RecvStream>, mut reply: SendResponse<Bytes>) {
        let (mut parts, receiver) = request.into_parts();
        let length = fields::stated_length(&parts.headers);
        let is_connect = parts.method == Method::CONNECT;
        if is_connect && length.is_some_and(|length| length > 0) {
            // Its octets are those of a tunnel, and no content (RFC 9110 section 9.3.6).
            return reply.send_reset(Reason::PROTOCOL_ERROR);
        }
        self.cork.close();
        let progress = Arc::<StreamProgress>::default();
        let guard = ResponseGuard::of_stream(&self.progress, Arc::clone(&progress));
        let mut stream = if is_connect {
            let connecting = Connecting::new(&mut parts.extensions, receiver);
            let response = self.service.serve(Request::from_parts(parts, Empty::new()), guard);
            Stream::of_connect(reply, response, connecting, &self.cork)
        } else {
            let mut body = Http2Body::new(receiver, length);
            let has_body = !body.is_end_stream();
            let is_asked = (has_body && parts.headers.contains_key(EXPECT)).then(|| body.expectation.asked());
            if has_body {
                parts.extensions.insert(self.room.clone());
            }
            Stream::of_request(reply, self.service.serve(Request::from_parts(parts, body), guard), is_asked, &self.cork)
        };
        // Many responses are there at once, and a task would cost more than they do. As in a task, a panic ends one stream only.
        if self.cork.has_room() {
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut stream).poll(&mut Context::from_waker(Waker::noop()))));
            if !matches!(polled, Ok(Poll::Pending)) {
                return;
            }
        }
        // The task polls the stream at once, with its own waker.
        tokio::spawn(StreamTask::new(stream, progress, self.pause));
    }
}
