//! The body of a request, which several attempts may read, one after the other.
//!
//! The body streams: an attempt reads what earlier ones read, from a bounded record, and then goes on where the client is. A body that outgrows the record still
//! reaches the attempt that reads it, but no other one.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use ziggurat_middleware::{Body, BoxError};

use super::pace::Pace;
use super::trailers;

/// The body of one request. Each attempt reads an [`Upload`] of it.
pub(crate) struct Replay(Source);

enum Source {
    /// All of it is at hand.
    Whole(Bytes),
    Stream(Arc<Mutex<Stream>>),
}

struct Stream {
    body: Body,
    record: Vec<Piece>,
    /// Octets that the record may still take; `None` where the body has outgrown it, or will.
    room: Option<usize>,
    is_begun: bool,
    is_ended: bool,
    /// The newest attempt: only this one may read.
    attempt: u32,
    /// Why the client's body ended before its end.
    failure: Option<BoxError>,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Replay {
    /// Takes a body, of which up to `most` octets are kept for another attempt.
    pub(crate) fn new(mut body: Body, most: usize) -> Self {
        if body.as_full().is_some() {
            // It gives its octets at once.
            let frame = body.frame().now_or_never().flatten().and_then(Result::ok);
            return Self(Source::Whole(frame.and_then(|frame| frame.into_data().ok()).unwrap_or_default()));
        }
        let fits = body.size_hint().lower() <= most as u64;
        let stream =
            Stream { body, record: Vec::new(), room: fits.then_some(most), is_begun: false, is_ended: false, attempt: 0, failure: None };
        Self(Source::Stream(Arc::new(Mutex::new(stream))))
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.0 {
            Source::Whole(octets) => octets.is_empty(),
            Source::Stream(stream) => lock(stream).body.is_end_stream() && lock(stream).record.is_empty(),
        }
    }

    /// Whether one more attempt would read the same octets as the first one.
    pub(crate) fn can_be_sent_again(&self) -> bool {
        match &self.0 {
            Source::Whole(_) => true,
            Source::Stream(stream) => {
                let stream = lock(stream);
                stream.failure.is_none() && (!stream.is_begun || stream.room.is_some())
            }
        }
    }

    /// Why the client's body ended before its end, where that is why an attempt failed.
    pub(crate) fn take_failure(&self) -> Option<BoxError> {
        match &self.0 {
            Source::Whole(_) => None,
            Source::Stream(stream) => lock(stream).failure.take(),
        }
    }

    /// The body from its start, for one attempt. The attempts before it can read no more.
    pub(crate) fn upload(&self) -> Upload {
        let pace = Arc::new(Pace::new());
        match &self.0 {
            Source::Whole(octets) => Upload { source: Reading::Whole(octets.clone()), pace },
            Source::Stream(stream) => {
                let attempt = {
                    let mut stream = lock(stream);
                    stream.attempt += 1;
                    stream.attempt
                };
                Upload { source: Reading::Stream { stream: Arc::clone(stream), attempt, at: 0 }, pace }
            }
        }
    }
}

/// A request's body on its way to an upstream, for one attempt.
pub(crate) struct Upload {
    source: Reading,
    pace: Arc<Pace>,
}

enum Reading {
    Whole(Bytes),
    Stream { stream: Arc<Mutex<Stream>>, attempt: u32, at: usize },
}

impl Upload {
    /// A body without content.
    pub(crate) fn empty() -> Self {
        Self { source: Reading::Whole(Bytes::new()), pace: Arc::new(Pace::new()) }
    }

    /// How it gets on, for whoever keeps the time.
    pub(crate) const fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.pace.finish();
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        ready!(self.pace.poll_allowed(cx));
        let frame = match &mut self.source {
            Reading::Whole(octets) if octets.is_empty() => Poll::Ready(None),
            Reading::Whole(octets) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(octets))))),
            Reading::Stream { stream, attempt, at } => lock(stream).poll(*attempt, at, cx),
        };
        self.pace.step(&frame);
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Reading::Whole(octets) => octets.is_empty(),
            Reading::Stream { stream, at, .. } => {
                let stream = lock(stream);
                *at >= stream.record.len() && (stream.is_ended || stream.body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Reading::Whole(octets) => SizeHint::with_exact(octets.len() as u64),
            Reading::Stream { stream, at, .. } => lock(stream).size_hint(*at),
        }
    }
}

impl Stream {
    fn poll(&mut self, attempt: u32, at: &mut usize, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if attempt != self.attempt {
            return Poll::Ready(Some(Err("another attempt sends this body".into())));
        }
        if let Some(piece) = self.record.get(*at) {
            *at += 1;
            return Poll::Ready(Some(Ok(piece.clone().into())));
        }
        if self.is_ended {
            return Poll::Ready(None);
        }
        self.is_begun = true;
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    trailers::clean(trailers);
                }
                self.record(&frame);
                *at = self.record.len();
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.is_ended = true;
                self.failure = Some(error);
                Some(Err("the body of the request failed".into()))
            }
            None => {
                self.is_ended = true;
                None
            }
        })
    }

    fn record(&mut self, frame: &Frame<Bytes>) {
        let (piece, octets) = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => (Piece::Data(data.clone()), data.len()),
            (None, Some(trailers)) => {
                let octets = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
                (Piece::Trailers(trailers.clone()), octets)
            }
            (None, None) => return,
        };
        // Each piece costs memory of its own, so that a body of single octets is bounded too.
        self.room = self.room.and_then(|room| room.checked_sub(octets.max(PIECE)));
        match self.room {
            Some(_) => self.record.push(piece),
            None => self.record = Vec::new(),
        }
    }

    fn size_hint(&self, at: usize) -> SizeHint {
        let recorded =
            self.record.iter().skip(at).map(|piece| if let Piece::Data(data) = piece { data.len() as u64 } else { 0 }).sum::<u64>();
        let rest = if self.is_ended { SizeHint::with_exact(0) } else { self.body.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(recorded));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(recorded));
        }
        hint
    }
}

/// What a recorded piece counts for at least.
const PIECE: usize = 64;

impl From<Piece> for Frame<Bytes> {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(data) => Self::data(data),
            Piece::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    fn streamed(pieces: &[&'static str]) -> Body {
        let frames: Vec<Result<Frame<Bytes>, BoxError>> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        Body::new(StreamBody::new(stream::iter(frames)))
    }

    async fn text(upload: Upload) -> Result<String, BoxError> {
        Ok(String::from_utf8(upload.collect().await?.to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_second_attempt_reads_what_the_first_one_read_and_the_rest() {
        let body = Replay::new(streamed(&["one ", "two ", "three"]), 1000);
        let mut first = body.upload();
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "one ");
        assert!(body.can_be_sent_again());
        let second = body.upload();
        assert_eq!(text(second).await.unwrap(), "one two three");
        assert!(first.frame().await.unwrap().is_err());
        assert_eq!(text(body.upload()).await.unwrap(), "one two three");
    }

    #[tokio::test]
    async fn a_body_that_outgrows_the_record_is_sent_once() {
        let body = Replay::new(streamed(&[&"x".repeat(100).leak()[..], &"y".repeat(101).leak()[..]]), 200);
        let mut upload = body.upload();
        upload.frame().await.unwrap().unwrap();
        assert!(body.can_be_sent_again());
        assert_eq!(text(upload).await.unwrap(), "y".repeat(101));
        assert!(!body.can_be_sent_again());
    }

    #[tokio::test]
    async fn single_octets_do_not_outgrow_the_bound() {
        let body = Replay::new(streamed(&["x"; 1000]), 1000);
        text(body.upload()).await.unwrap();
        assert!(!body.can_be_sent_again());
    }

    #[tokio::test]
    async fn trailers_are_part_of_the_record() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
        let frames: Vec<Result<Frame<Bytes>, BoxError>> =
            vec![Ok(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(trailers.clone()))];
        let body = Replay::new(Body::new(StreamBody::new(stream::iter(frames))), 1000);
        for _ in 0..2 {
            assert_eq!(body.upload().collect().await.unwrap().trailers(), Some(&trailers));
        }
    }

    #[tokio::test]
    async fn the_failure_of_the_clients_body_is_kept_for_the_client() {
        let frames: Vec<Result<Frame<Bytes>, BoxError>> = vec![Err("cut".into())];
        let body = Replay::new(Body::new(StreamBody::new(stream::iter(frames))), 1000);
        assert!(text(body.upload()).await.is_err());
        assert!(!body.can_be_sent_again());
        assert_eq!(body.take_failure().unwrap().to_string(), "cut");
    }

    #[tokio::test]
    async fn a_body_at_hand_has_its_length_in_every_attempt() {
        let body = Replay::new(Body::from("body"), 0);
        for _ in 0..2 {
            let upload = body.upload();
            assert_eq!(upload.size_hint().exact(), Some(4));
            assert_eq!(text(upload).await.unwrap(), "body");
        }
    }
}
