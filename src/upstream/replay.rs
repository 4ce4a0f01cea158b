//! A request body that several attempts can read, one after the other.
//!
//! The body streams. An attempt first reads the record of what earlier attempts read, then the client's body. The record is bounded: if the body outgrows it, the current attempt
//! goes on, and no further one is possible.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use ziggurat_middleware::{Body, BoxError};

use super::progress::UploadProgress;
use super::trailers;

/// The body of one request. Each attempt reads an [`Upload`] of it.
pub(crate) struct ReplayBody(Source);

enum Source {
    /// The whole body, in memory.
    Whole(Bytes),
    Stream(Arc<Mutex<Stream>>),
}

struct Stream {
    body: Body,
    record: Vec<Piece>,
    /// The room that is left in the record, in octets. `None` if the body does not fit.
    room: Option<usize>,
    is_begun: bool,
    is_ended: bool,
    /// The number of the newest attempt. Only this one may read.
    attempt: u32,
    /// Why the client's body ended before its end.
    failure: Option<BoxError>,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl ReplayBody {
    /// Takes a body and keeps up to `most` octets for further attempts.
    pub(crate) fn new(mut body: Body, most: usize) -> Self {
        if body.as_full().is_some() {
            // Such a body returns all octets in one frame.
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

    /// Whether another attempt can read the body from its start.
    pub(crate) fn can_be_sent_again(&self) -> bool {
        match &self.0 {
            Source::Whole(_) => true,
            Source::Stream(stream) => {
                let stream = lock(stream);
                stream.failure.is_none() && (!stream.is_begun || stream.room.is_some())
            }
        }
    }

    /// The error of the client's body, if there was one.
    pub(crate) fn take_failure(&self) -> Option<BoxError> {
        match &self.0 {
            Source::Whole(_) => None,
            Source::Stream(stream) => lock(stream).failure.take(),
        }
    }

    /// The body from its start, for a new attempt. Earlier attempts can no longer read.
    pub(crate) fn upload(&self) -> Upload {
        let progress = Arc::new(UploadProgress::new());
        match &self.0 {
            Source::Whole(octets) => Upload { source: Reading::Whole(octets.clone()), progress },
            Source::Stream(stream) => {
                let attempt = {
                    let mut stream = lock(stream);
                    stream.attempt += 1;
                    stream.attempt
                };
                Upload { source: Reading::Stream { stream: Arc::clone(stream), attempt, at: 0 }, progress }
            }
        }
    }
}

/// The request body of one attempt.
pub(crate) struct Upload {
    source: Reading,
    progress: Arc<UploadProgress>,
}

enum Reading {
    Whole(Bytes),
    Stream { stream: Arc<Mutex<Stream>>, attempt: u32, at: usize },
}

impl Upload {
    /// A body without content.
    pub(crate) fn empty() -> Self {
        Self { source: Reading::Whole(Bytes::new()), progress: Arc::new(UploadProgress::new()) }
    }

    /// The progress of the upload, for timeouts.
    pub(crate) const fn progress(&self) -> &Arc<UploadProgress> {
        &self.progress
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.progress.finish();
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        ready!(self.progress.poll_allowed(cx));
        let frame = match &mut self.source {
            Reading::Whole(octets) if octets.is_empty() => Poll::Ready(None),
            Reading::Whole(octets) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(octets))))),
            Reading::Stream { stream, attempt, at } => lock(stream).poll(*attempt, at, cx),
        };
        self.progress.step(&frame);
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
        // Each piece has an overhead. Without it, a body of single octets would not be bounded.
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

/// The least that a piece counts for.
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
        let body = ReplayBody::new(streamed(&["one ", "two ", "three"]), 1000);
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
        let body = ReplayBody::new(streamed(&[&"x".repeat(100).leak()[..], &"y".repeat(101).leak()[..]]), 200);
        let mut upload = body.upload();
        upload.frame().await.unwrap().unwrap();
        assert!(body.can_be_sent_again());
        assert_eq!(text(upload).await.unwrap(), "y".repeat(101));
        assert!(!body.can_be_sent_again());
    }

    #[tokio::test]
    async fn single_octets_do_not_outgrow_the_bound() {
        let body = ReplayBody::new(streamed(&["x"; 1000]), 1000);
        text(body.upload()).await.unwrap();
        assert!(!body.can_be_sent_again());
    }

    #[tokio::test]
    async fn trailers_are_part_of_the_record() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
        let frames: Vec<Result<Frame<Bytes>, BoxError>> =
            vec![Ok(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(trailers.clone()))];
        let body = ReplayBody::new(Body::new(StreamBody::new(stream::iter(frames))), 1000);
        for _ in 0..2 {
            assert_eq!(body.upload().collect().await.unwrap().trailers(), Some(&trailers));
        }
    }

    #[tokio::test]
    async fn the_failure_of_the_clients_body_is_kept_for_the_client() {
        let frames: Vec<Result<Frame<Bytes>, BoxError>> = vec![Err("cut".into())];
        let body = ReplayBody::new(Body::new(StreamBody::new(stream::iter(frames))), 1000);
        assert!(text(body.upload()).await.is_err());
        assert!(!body.can_be_sent_again());
        assert_eq!(body.take_failure().unwrap().to_string(), "cut");
    }

    #[tokio::test]
    async fn a_body_at_hand_has_its_length_in_every_attempt() {
        let body = ReplayBody::new(Body::from("body"), 0);
        for _ in 0..2 {
            let upload = body.upload();
            assert_eq!(upload.size_hint().exact(), Some(4));
            assert_eq!(text(upload).await.unwrap(), "body");
        }
    }
}
