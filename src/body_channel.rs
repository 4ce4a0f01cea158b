//! A body that one task writes and another one reads, with one piece between them: from a front server into the stack, and from an app into a response.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// The end that is read.
pub(crate) struct ChannelBody {
    /// `None` for a body without octets.
    pieces: Option<mpsc::Receiver<Piece>>,
    /// The octets to come, if they are known.
    left: Option<u64>,
    is_ended: bool,
}

/// The end that is written. Dropping it before the end of the body cuts the body off.
pub(crate) struct BodySender {
    /// `None` at the end of the body, or if nobody reads it any more.
    pieces: Option<PollSender<Piece>>,
    /// Tells when nobody reads any more. `None` for a body without octets.
    reader: Option<mpsc::Sender<Piece>>,
    is_ended: bool,
}

enum Piece {
    Data(Bytes),
    /// The last octets, so that the reader learns of the end with them.
    Last(Bytes),
    End,
}

/// Pieces that wait.
const PIECES: usize = 1;

/// A body of this length; `None` if it is not known.
pub(crate) fn channel(length: Option<u64>) -> (BodySender, ChannelBody) {
    // Most requests have no body, and need no channel.
    if length == Some(0) {
        return (BodySender { pieces: None, reader: None, is_ended: false }, ChannelBody { pieces: None, left: length, is_ended: true });
    }
    let (sender, pieces) = mpsc::channel(PIECES);
    (
        BodySender { pieces: Some(PollSender::new(sender.clone())), reader: Some(sender), is_ended: false },
        ChannelBody { pieces: Some(pieces), left: length, is_ended: false },
    )
}

impl BodySender {
    /// Ready when the next piece can be sent, or when nobody reads the body any more: it is dropped then.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pieces) = &mut self.pieces
            && ready!(pieces.poll_reserve(cx)).is_err()
        {
            self.pieces = None;
        }
        Poll::Ready(())
    }

    pub(crate) fn send(&mut self, octets: Bytes) {
        self.push(Piece::Data(octets));
    }

    /// Sends octets and the end of the body.
    pub(crate) fn send_last(&mut self, octets: Bytes) {
        self.finish(Piece::Last(octets));
    }

    pub(crate) fn end(&mut self) {
        self.finish(Piece::End);
    }

    fn finish(&mut self, piece: Piece) {
        self.push(piece);
        self.pieces = None;
        self.is_ended = true;
    }

    /// Ready when nobody reads the body any more.
    pub(crate) fn abandoned(&self) -> impl Future<Output = ()> + use<> {
        let reader = self.reader.clone();
        async move {
            if let Some(reader) = reader {
                reader.closed().await;
            }
        }
    }

    /// Whether nobody reads the body any more.
    pub(crate) const fn is_abandoned(&self) -> bool {
        self.pieces.is_none() && self.reader.is_some() && !self.is_ended
    }

    /// Whether the whole body has come.
    pub(crate) const fn is_ended(&self) -> bool {
        self.is_ended
    }

    fn push(&mut self, piece: Piece) {
        if let Some(pieces) = &mut self.pieces
            && pieces.send_item(piece).is_err()
        {
            self.pieces = None;
        }
    }
}

/// The connection ended before the body.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection ended before the body")
    }
}

impl std::error::Error for Cut {}

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        let Some(pieces) = &mut self.pieces else { return Poll::Ready(None) };
        match ready!(pieces.poll_recv(cx)) {
            Some(Piece::Data(octets)) => {
                self.left = self.left.map(|left| left.saturating_sub(octets.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(octets))))
            }
            Some(Piece::Last(octets)) => {
                (self.is_ended, self.left) = (true, Some(0));
                Poll::Ready(Some(Ok(Frame::data(octets))))
            }
            Some(Piece::End) => {
                self.is_ended = true;
                Poll::Ready(None)
            }
            None => {
                self.is_ended = true;
                Poll::Ready(Some(Err(Cut)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// Sends once there is room.
    async fn send(sender: &mut BodySender, send: impl FnOnce(&mut BodySender)) {
        std::future::poll_fn(|cx| sender.poll_room(cx)).await;
        send(sender);
    }

    #[tokio::test]
    async fn a_body_ends_with_its_last_octets_or_after_them_or_is_cut() {
        for (end, is_whole) in [(Some(true), true), (Some(false), true), (None, false)] {
            let (mut sender, body) = channel(None);
            tokio::spawn(async move {
                send(&mut sender, |sender| sender.send(Bytes::from_static(b"be"))).await;
                match end {
                    Some(true) => send(&mut sender, |sender| sender.send_last(Bytes::from_static(b"gins"))).await,
                    Some(false) => {
                        send(&mut sender, |sender| sender.send(Bytes::from_static(b"gins"))).await;
                        send(&mut sender, BodySender::end).await;
                    }
                    None => drop(sender),
                }
            });
            assert_eq!(body.collect().await.is_ok_and(|body| body.to_bytes() == "begins"), is_whole, "{end:?}");
        }
    }

    #[tokio::test]
    async fn a_body_without_octets_is_complete_at_once_and_nobody_abandons_it() {
        let (mut sender, mut body) = channel(Some(0));
        assert!(body.is_end_stream() && body.frame().await.is_none());
        drop(body);
        assert!(!sender.is_abandoned() && !sender.is_ended());
        sender.end();
        assert!(sender.is_ended());
    }
}
