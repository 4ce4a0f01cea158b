//! The writing half of one side of a tunnel. It counts what passes, and ends a WebSocket by a Close frame.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::time::Instant;
use ziggurat_middleware::TunnelRecord;
use ziggurat_middleware::metrics::Counter;

use super::frames::Frames;

/// The status of the Close frame: "going away" (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// The role of the tunnel towards the side that it writes to. A client masks its frames (RFC 6455 section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

/// Passes octets on. Once it was told to leave, it sends a Close frame after the frame that has begun, unless a Close frame has passed already; what
/// comes after that is dropped.
pub(super) struct TunnelWriter<'a, W> {
    inner: W,
    role: Role,
    /// `None` if the protocol is not WebSocket.
    frames: Option<Frames>,
    state: State,
    record: &'a TunnelRecord,
    counters: [Option<&'a Counter>; 2],
}

enum State {
    Passing,
    /// Told to leave, in the middle of a frame.
    Leaving,
    /// Sends the Close frame. So many octets of it are sent.
    Closing([u8; 8], usize),
    /// Since when no frame is sent any more.
    Left(Instant),
}

impl<'a, W: AsyncWrite + Unpin> TunnelWriter<'a, W> {
    pub(super) fn new(inner: W, role: Role, is_websocket: bool, record: &'a TunnelRecord, counters: [Option<&'a Counter>; 2]) -> Self {
        Self { inner, role, frames: is_websocket.then(Frames::default), state: State::Passing, record, counters }
    }

    pub(super) const fn role(&self) -> Role {
        self.role
    }

    /// Has the next flush, write or shutdown send a Close frame, if the protocol is WebSocket.
    pub(super) fn leave(&mut self) {
        if self.frames.is_some() && matches!(self.state, State::Passing) {
            self.state = State::Leaving;
        }
    }

    /// Since when this side gets no frames any more, because it was left.
    pub(super) const fn left(&self) -> Option<Instant> {
        match self.state {
            State::Left(since) => Some(since),
            _ => None,
        }
    }

    /// Whether the octets that were to pass had a Close frame, which ends the other side's part.
    pub(super) fn has_seen_close(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::is_closed)
    }

    /// Goes on with the Close frame as far as possible. Pending if the stream takes no more.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match (&mut self.state, &self.frames) {
                (State::Leaving, Some(frames)) if frames.takes_another() => self.state = State::Closing(close_frame(self.role), 0),
                (State::Leaving, Some(frames)) if frames.is_closed() => self.state = State::Left(Instant::now()),
                (State::Closing(frame, sent), _) => {
                    let length = if self.role == Role::Client { 8 } else { 4 };
                    if *sent == length {
                        self.record.note_close(GOING_AWAY);
                        self.state = State::Left(Instant::now());
                        continue;
                    }
                    match ready!(Pin::new(&mut self.inner).poll_write(cx, &frame[*sent..length]))? {
                        0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        count => *sent += count,
                    }
                }
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// An empty mask would do; a random one is what the RFC asks for.
fn close_frame(role: Role) -> [u8; 8] {
    let [high, low] = GOING_AWAY.to_be_bytes();
    match role {
        Role::Server => [0x88, 2, high, low, 0, 0, 0, 0],
        Role::Client => {
            let [a, b, c, d] = fastrand::u32(..).to_be_bytes();
            [0x88, 0x82, a, b, c, d, high ^ a, low ^ b]
        }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for TunnelWriter<'_, W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_close(cx))?;
        let passing = match (&this.state, &mut this.frames) {
            (State::Left(_), frames) => {
                if let Some(frames) = frames {
                    frames.follow(buf);
                }
                return Poll::Ready(Ok(buf.len()));
            }
            (State::Leaving, Some(frames)) => frames.rest_of_frame(buf),
            _ => buf.len(),
        };
        let count = ready!(Pin::new(&mut this.inner).poll_write(cx, &buf[..passing]))?;
        for counter in this.counters.into_iter().flatten() {
            counter.add(count as u64);
        }
        if let Some(frames) = &mut this.frames {
            frames.follow(&buf[..count]);
            if let Some(code) = frames.close_code() {
                this.record.note_close(code);
            }
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_close(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_close(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const CLOSE: &[u8] = &[0x88, 2, 0x03, 0xe9];

    /// What is sent after `before` passed, the writer was told to leave, and `after` followed.
    async fn sent(role: Role, before: &[u8], after: &[u8]) -> (Vec<u8>, Option<u16>) {
        let ((inner, mut other), record) = (duplex(64), TunnelRecord::default());
        let mut writer = TunnelWriter::new(inner, role, true, &record, [None, None]);
        writer.write_all(before).await.unwrap();
        writer.leave();
        writer.flush().await.unwrap();
        writer.write_all(after).await.unwrap();
        writer.shutdown().await.unwrap();
        drop(writer);
        let mut octets = Vec::new();
        other.read_to_end(&mut octets).await.unwrap();
        (octets, record.close_code())
    }

    #[tokio::test]
    async fn a_close_frame_is_sent_once_and_only_between_frames() {
        let next = b"\x81\x01x";
        assert_eq!(sent(Role::Server, b"", next).await, (CLOSE.to_vec(), Some(1001)));
        assert_eq!(sent(Role::Server, b"\x81\x02hi", next).await, ([b"\x81\x02hi", CLOSE].concat(), Some(1001)));
        assert_eq!(sent(Role::Server, b"\x81\x02h", b"i\x81\x01x").await, ([b"\x81\x02hi", CLOSE].concat(), Some(1001)));
        assert_eq!(sent(Role::Server, b"\x81\x02h", b"").await, (b"\x81\x02h".to_vec(), None));
        assert_eq!(sent(Role::Server, b"\x88\x02\x03\xe8", next).await, (b"\x88\x02\x03\xe8".to_vec(), Some(1000)));
    }

    #[tokio::test]
    async fn a_client_masks_its_close_frame() {
        let (octets, code) = sent(Role::Client, b"", b"").await;
        assert_eq!((&octets[..2], code), (&[0x88, 0x82][..], Some(1001)));
        assert_eq!([octets[6] ^ octets[2], octets[7] ^ octets[3]], 1001_u16.to_be_bytes());
    }

    #[tokio::test]
    async fn other_protocols_pass_as_they_are() {
        let ((inner, mut other), record) = (duplex(64), TunnelRecord::default());
        let mut writer = TunnelWriter::new(inner, Role::Server, false, &record, [Some(record.sent()), None]);
        writer.leave();
        writer.write_all(b"\x88\x00 octets").await.unwrap();
        writer.shutdown().await.unwrap();
        drop(writer);
        let mut octets = Vec::new();
        other.read_to_end(&mut octets).await.unwrap();
        assert_eq!((&octets[..], record.sent().get(), record.close_code()), (&b"\x88\x00 octets"[..], 9, None));
    }
}
