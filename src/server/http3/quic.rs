//! quinn in the terms of h3, with the reader of frames between them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, WriteError};

use super::frames::{Event, FrameReader};
use super::wire::{RequestStreamState, Wire, var_int};

/// A QUIC connection.
pub(super) struct QuicConnection {
    wire: Arc<Wire>,
    accept_bi: BoxFuture<'static, Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>>,
    accept_uni: BoxFuture<'static, Result<quinn::RecvStream, ConnectionError>>,
    open_uni: Option<BoxFuture<'static, Result<quinn::SendStream, ConnectionError>>>,
}

impl QuicConnection {
    pub(super) fn new(wire: Arc<Wire>) -> Self {
        let (accept_bi, accept_uni) = (accept_bi(&wire), accept_uni(&wire));
        Self { wire, accept_bi, accept_uni, open_uni: None }
    }
}

fn accept_bi(wire: &Wire) -> BoxFuture<'static, Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>> {
    let connection = wire.connection.clone();
    Box::pin(async move { connection.accept_bi().await })
}

fn accept_uni(wire: &Wire) -> BoxFuture<'static, Result<quinn::RecvStream, ConnectionError>> {
    let connection = wire.connection.clone();
    Box::pin(async move { connection.accept_uni().await })
}

impl quic::Connection<Bytes> for QuicConnection {
    type RecvStream = RecvStream;
    type OpenStreams = Self;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<RecvStream, ConnectionErrorIncoming>> {
        let stream = ready!(self.accept_uni.as_mut().poll(cx)).map_err(of_connection)?;
        self.accept_uni = accept_uni(&self.wire);
        self.wire.spend();
        Poll::Ready(Ok(RecvStream::new(stream, FrameReader::of_one_way(), None, &self.wire)))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream, ConnectionErrorIncoming>> {
        let (send, recv) = ready!(self.accept_bi.as_mut().poll(cx)).map_err(of_connection)?;
        self.accept_bi = accept_bi(&self.wire);
        let state = self.wire.accept(&send);
        let frames = FrameReader::of_request(self.wire.header_size as u64);
        Poll::Ready(Ok(BidiStream {
            send: SendStream::new(send, &self.wire),
            recv: RecvStream::new(recv, frames, Some(state), &self.wire),
        }))
    }

    fn opener(&self) -> Self {
        Self::new(Arc::clone(&self.wire))
    }
}

impl quic::OpenStreams<Bytes> for QuicConnection {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        Poll::Ready(Err(StreamErrorIncoming::Unknown("a server opens no request streams".into())))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        let connection = &self.wire.connection;
        let opening = self.open_uni.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await })
        });
        let opened = ready!(opening.as_mut().poll(cx));
        self.open_uni = None;
        Poll::Ready(opened.map(|stream| SendStream::new(stream, &self.wire)).map_err(of_stream))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.wire.connection.close(var_int(code.value()), reason);
    }
}

/// Both directions of a request stream.
pub(super) struct BidiStream {
    send: SendStream,
    recv: RecvStream,
}

impl quic::BidiStream<Bytes> for BidiStream {
    type SendStream = SendStream;
    type RecvStream = RecvStream;

    fn split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }
}

impl quic::RecvStream for BidiStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.recv.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl quic::SendStream<Bytes> for BidiStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

/// A stream to the client. One that is dropped before it is finished is reset, so that what was sent of it does not look complete.
pub(super) struct SendStream {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
    has_end: bool,
    wire: Arc<Wire>,
}

impl SendStream {
    fn new(stream: quinn::SendStream, wire: &Arc<Wire>) -> Self {
        Self { stream, writing: None, has_end: false, wire: Arc::clone(wire) }
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.has_end {
            // It fails if the client has stopped the stream, or the connection is over.
            let _ = self.stream.reset(var_int(Code::H3_INTERNAL_ERROR.value()));
        }
    }
}

impl quic::SendStream<Bytes> for SendStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = self.writing.as_mut().filter(|data| data.has_remaining()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, data.chunk())).map_err(of_write)?;
            data.advance(written);
            self.wire.note_written(written);
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.writing.is_some() {
            return Err(StreamErrorIncoming::Unknown("the write before is not over".into()));
        }
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(cx))?;
        self.has_end = true;
        Poll::Ready(self.stream.finish().map_err(|error| StreamErrorIncoming::Unknown(error.into())))
    }

    fn reset(&mut self, code: u64) {
        self.has_end = true;
        let _ = self.stream.reset(var_int(code));
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

/// A stream from the client.
pub(super) struct RecvStream {
    stream: quinn::RecvStream,
    frames: FrameReader,
    buffer: BytesMut,
    /// Octets of a field section that are counted as waiting.
    kept: usize,
    is_over: bool,
    /// Of a request stream.
    state: Option<Arc<RequestStreamState>>,
    wire: Arc<Wire>,
}

/// How many octets are read at once.
const READ: usize = 8 << 10;

impl RecvStream {
    fn new(stream: quinn::RecvStream, frames: FrameReader, state: Option<Arc<RequestStreamState>>, wire: &Arc<Wire>) -> Self {
        Self { stream, frames, buffer: BytesMut::new(), kept: 0, is_over: false, state, wire: Arc::clone(wire) }
    }

    fn keep(&mut self, octets: usize) -> bool {
        if octets == self.kept {
            return true;
        }
        let before = std::mem::replace(&mut self.kept, octets);
        self.wire.keep(before, octets)
    }

    /// Ends the stream because of its client.
    fn fail(&mut self, code: Code, reason: &'static str) -> StreamErrorIncoming {
        self.is_over = true;
        self.stop(code);
        StreamErrorIncoming::Unknown(reason.into())
    }

    fn stop(&mut self, code: Code) {
        // It fails if all of the stream has come.
        let _ = self.stream.stop(var_int(code.value()));
    }

    /// Reads more octets. Returns whether there are any.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, StreamErrorIncoming>> {
        let there = self.buffer.len();
        self.buffer.resize(there + READ, 0);
        let read = self.stream.poll_read(cx, &mut self.buffer[there..]);
        self.buffer.truncate(there + if let Poll::Ready(Ok(octets)) = read { octets } else { 0 });
        if self.buffer.is_empty() {
            // A silent stream keeps no memory.
            self.buffer = BytesMut::new();
        }
        read.map_ok(|octets| octets > 0).map_err(of_read)
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.keep(0);
        // What is left of the request is not needed (RFC 9114 section 4.1).
        self.stop(Code::H3_NO_ERROR);
    }
}

impl quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        while !self.is_over {
            match self.frames.next(&mut self.buffer) {
                Event::Octets(octets) => {
                    self.keep(0);
                    if self.state.is_none() {
                        // No frame of the control stream is worth anything here.
                        self.wire.spend();
                    }
                    return Poll::Ready(Ok(Some(octets)));
                }
                Event::Useless => self.wire.spend(),
                Event::Refused(stand_in, refusal) => {
                    if let Some(state) = &self.state {
                        let _ = state.refusal.set(refusal);
                    }
                    self.is_over = true;
                    self.keep(0);
                    self.stop(Code::H3_NO_ERROR);
                    return Poll::Ready(Ok(Some(stand_in)));
                }
                Event::Malformed(reason) => return Poll::Ready(Err(self.fail(Code::H3_MESSAGE_ERROR, reason))),
                Event::Unexpected => {
                    self.wire.close(Code::H3_FRAME_UNEXPECTED, "a frame that may not be on this stream");
                    return Poll::Ready(Err(self.fail(Code::H3_FRAME_UNEXPECTED, "a frame may not be on this stream")));
                }
                Event::More(whole) => {
                    if whole > 0 && !self.keep(whole) {
                        self.wire.spend();
                        return Poll::Ready(Err(self.fail(Code::H3_EXCESSIVE_LOAD, "too many heads are on their way at once")));
                    }
                    if !ready!(self.poll_more(cx))? {
                        self.is_over = true;
                        if !self.frames.may_end(&self.buffer) {
                            return Poll::Ready(Err(StreamErrorIncoming::Unknown("the stream ends inside of a frame".into())));
                        }
                    }
                }
            }
        }
        Poll::Ready(Ok(None))
    }

    fn stop_sending(&mut self, code: u64) {
        let _ = self.stream.stop(var_int(code));
    }

    fn recv_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

fn id(id: quinn::StreamId) -> StreamId {
    let number = u64::from(quinn::VarInt::from(id));
    // Both are integers of 62 bits.
    #[allow(clippy::expect_used)]
    StreamId::try_from(number).expect("quinn's ids are those of QUIC")
}

fn of_connection(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into_inner() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

fn of_stream(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: of_connection(error) }
}

fn of_read(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        ReadError::ConnectionLost(error) => of_stream(error),
        other => StreamErrorIncoming::Unknown(other.into()),
    }
}

fn of_write(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        WriteError::ConnectionLost(error) => of_stream(error),
        other => StreamErrorIncoming::Unknown(other.into()),
    }
}
