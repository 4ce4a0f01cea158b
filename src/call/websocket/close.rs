//! Ends the WebSocket of a client in its own terms.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;

/// A Close frame with status 1001, "going away" (RFC 6455 section 7.4.1).
const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// The connection of a client. If its last frame is complete and the app has sent no Close frame, the shutdown sends one first.
pub(super) struct ClosingStream<S> {
    inner: S,
    frames: Frames,
    /// What is left of the Close frame, once the shutdown has begun.
    close: Option<&'static [u8]>,
}

impl<S> ClosingStream<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, frames: Frames::default(), close: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClosingStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClosingStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.frames.follow(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = this.close.get_or_insert_with(|| if this.frames.takes_another() { &GOING_AWAY } else { &[] });
        while !left.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *left = &left[count..],
            }
        }
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    async fn after(written: &[u8]) -> Vec<u8> {
        let (client, mut other) = duplex(64);
        let mut client = ClosingStream::new(client);
        client.write_all(written).await.unwrap();
        client.shutdown().await.unwrap();
        client.shutdown().await.unwrap();
        let mut octets = Vec::new();
        other.read_to_end(&mut octets).await.unwrap();
        octets.split_off(written.len())
    }

    #[tokio::test]
    async fn a_close_frame_is_sent_once_and_only_between_frames() {
        assert_eq!(after(b"").await, GOING_AWAY);
        assert_eq!(after(b"\x81\x02hi").await, GOING_AWAY);
        assert_eq!(after(b"\x81\x02h").await, b"");
        assert_eq!(after(b"\x88\x02\x03\xe8").await, b"");
    }
}
