//! The frames of one connection: h2, from its preface to its end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake};

use super::io::Http2Io;
use super::requests::Requests;
use crate::server::io::Io;
use crate::server::limits::Limits;
use crate::server::stream_task::{CONNECTION_WINDOW, STREAM_WINDOW, STREAMS};

/// How many streams are remembered for a second after the server has reset them, as it does where a response does not wait for the rest of the body. What the client had sent of them is no
/// fault then.
const RESET_STREAMS: usize = 1024;

/// DATA frames of less than 256 octets take the rest of them from this budget until the stack reads them: what h2 keeps beside the octets of a frame is not in the windows. It is for 16,000
/// frames of an octet, which take about 5 MiB.
const SMALL_FRAMES: usize = 4 << 20;

/// The most that is buffered of one response.
const SEND_BUFFER: usize = 64 << 10;

pub(super) struct Http2Connection<S: Io> {
    state: State<S>,
    is_closing: bool,
}

enum State<S: Io> {
    Handshake(Handshake<Http2Io<S>, Bytes>),
    Open(Connection<Http2Io<S>, Bytes>),
}

impl<S: Io> Http2Connection<S> {
    pub(super) fn new(wire: Http2Io<S>, limits: &Limits) -> Self {
        let handshake = Builder::new()
            .enable_connect_protocol()
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX))
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_FRAMES)
            .max_concurrent_reset_streams(RESET_STREAMS)
            .handshake(wire);
        Self { state: State::Handshake(handshake), is_closing: false }
    }

    /// Reads and writes, and begins the requests that come. Ready when the connection is closed.
    pub(super) fn poll(&mut self, requests: &Requests, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            match &mut self.state {
                State::Handshake(handshake) => {
                    let mut connection = ready!(Pin::new(handshake).poll(cx))?;
                    if self.is_closing {
                        connection.graceful_shutdown();
                    }
                    self.state = State::Open(connection);
                }
                State::Open(connection) => match ready!(connection.poll_accept(cx)) {
                    Some(accepted) => {
                        let (request, reply) = accepted?;
                        requests.begin(request, reply);
                    }
                    None => return Poll::Ready(Ok(())),
                },
            }
        }
    }

    /// Sends GOAWAY. Requests that are under way, or on their way, are served.
    pub(super) fn graceful_shutdown(&mut self) {
        self.is_closing = true;
        if let State::Open(connection) = &mut self.state {
            connection.graceful_shutdown();
        }
    }
}
