//! The body type of every request and response in a stack.
//!
//! Bodies of other types are boxed where a stage is erased (see [`crate::Next`]), so a stack that is built at run time needs no type parameters.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use crate::BoxError;
use crate::files::{FileBody, FileFrame, FilePart};
use crate::service::AnyBody;
use crate::timing::{StackVisit, TimedBody};

/// The body of a [`crate::Request`] or a [`crate::Response`]: nothing, octets in memory, or a stream of frames.
///
/// Octets in memory, as in most small responses, cost no allocation and no dynamic call.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
    File(Box<FileBody>),
    Observed(Box<ObservedBody<dyn Observer>>),
    Timed(Box<TimedBody>),
}

impl Body {
    /// A body without content.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Boxes a body of any type. A [`Body`] is returned as it is.
    pub fn new(body: impl AnyBody) -> Self {
        let mut slot = Some(body);
        let any = &mut slot as &mut dyn Any;
        if let Some(own) = any.downcast_mut::<Option<Self>>() {
            return own.take().unwrap_or_default();
        }
        if let Some(file) = any.downcast_mut::<Option<FileBody>>() {
            return file.take().map_or_else(Self::empty, |file| Self(Kind::File(Box::new(file))));
        }
        match slot {
            Some(body) => Self(Kind::Stream(ConvertedBody { body }.boxed_unsync())),
            None => Self::empty(),
        }
    }

    /// The most octets in memory that a body hands over at once. Of longer ones a server takes a part when it has room, as it does of a file, so that who counts them sees what a slow client takes.
    const LONGEST_FRAME: usize = FilePart::LONGEST;

    /// The octets, if all of them are in memory and a server takes them at once.
    #[must_use]
    pub fn as_frame(&self) -> Option<&[u8]> {
        self.as_full().filter(|octets| octets.len() <= Self::LONGEST_FRAME)
    }

    /// The octets, if all of them are in memory.
    #[must_use]
    pub fn as_full(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Empty => Some(&[]),
            Kind::Full(bytes) => Some(bytes),
            Kind::Stream(_) | Kind::File(_) | Kind::Observed(_) | Kind::Timed(_) => None,
        }
    }

    /// A body that `observer` is told about. It stays what it is: a server may send the parts of a file without reading them.
    pub(crate) fn observed(self, observer: impl Observer) -> Self {
        Self(Kind::Observed(Box::new(ObservedBody { inner: self, observer })))
    }

    /// Whether this is a [`FileBody`] as it was made: no layer reads or changes its octets.
    #[must_use]
    pub fn is_file(&self) -> bool {
        match &self.0 {
            Kind::File(_) => true,
            Kind::Observed(observed) => observed.inner.is_file(),
            _ => false,
        }
    }

    /// The next frame, or, of a body that [is a file](Self::is_file), the next part of it: for a server that sends it without reading it (sendfile(2)).
    ///
    /// # Errors
    ///
    /// As [`HttpBody::poll_frame`].
    pub fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<FileFrame, BoxError>>> {
        match &mut self.0 {
            Kind::File(file) => file.poll_part(cx).map_err(Into::into),
            Kind::Observed(observed) => observed.poll_part(cx),
            _ => Pin::new(self).poll_frame(cx).map_ok(FileFrame::Frame),
        }
    }

    /// Puts the body that leaves a place under the clock. A body below, which has passed the place unchanged, stays as it is; so does one in memory.
    pub(crate) fn timed(self, visit: &mut StackVisit) -> Self {
        let inner = match self.0 {
            Kind::Stream(stream) => stream,
            Kind::File(file) => ConvertedBody { body: *file }.boxed_unsync(),
            observed @ Kind::Observed(_) => Self(observed).boxed_unsync(),
            other => return Self(other),
        };
        Self(match visit.body() {
            Some(visit) => Kind::Timed(Box::new(TimedBody::new(inner, visit))),
            None => Kind::Stream(inner),
        })
    }
}

/// Is told what a body hands over, and does not see the octets. It is dropped after the body.
pub(crate) trait Observer: Send + 'static {
    /// The body has handed this over.
    fn observe(&mut self, _handed: Handed) {}
}

/// What a body has handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handed {
    /// So many octets, and whether they are known to be the last.
    Octets(u64, bool),
    End,
    Error,
}

/// A body, and who is told about it.
struct ObservedBody<O: ?Sized> {
    inner: Body,
    observer: O,
}

impl<O: Observer + ?Sized> ObservedBody<O> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        self.observe(&polled, |frame| frame.data_ref().map_or(0, Bytes::len));
        polled
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<FileFrame, BoxError>>> {
        let polled = self.inner.poll_part(cx);
        self.observe(&polled, |frame| match frame {
            FileFrame::Frame(frame) => frame.data_ref().map_or(0, Bytes::len),
            FileFrame::Part(part) => part.len,
        });
        polled
    }

    fn observe<T>(&mut self, polled: &Poll<Option<Result<T, BoxError>>>, octets: impl FnOnce(&T) -> usize) {
        self.observer.observe(match polled {
            Poll::Pending => return,
            Poll::Ready(None) => Handed::End,
            Poll::Ready(Some(Err(_))) => Handed::Error,
            Poll::Ready(Some(Ok(frame))) => Handed::Octets(octets(frame) as u64, self.inner.is_end_stream()),
        });
    }
}

/// The octets of a body that has all of them in memory; any other body is returned.
impl TryFrom<Body> for Bytes {
    type Error = Body;

    fn try_from(body: Body) -> Result<Self, Body> {
        match body.0 {
            Kind::Empty => Ok(Self::new()),
            Kind::Full(octets) => Ok(octets),
            Kind::Stream(_) | Kind::File(_) | Kind::Observed(_) | Kind::Timed(_) => Err(body),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::empty() } else { Self(Kind::Full(bytes)) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) if bytes.len() > Self::LONGEST_FRAME => {
                Poll::Ready(Some(Ok(Frame::data(bytes.split_to(Self::LONGEST_FRAME)))))
            }
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(stream) => Pin::new(stream).poll_frame(cx),
            Kind::File(file) => Pin::new(&mut **file).poll_frame(cx).map_err(Into::into),
            Kind::Observed(observed) => observed.poll_frame(cx),
            Kind::Timed(timed) => Pin::new(timed).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Stream(stream) => stream.is_end_stream(),
            Kind::File(file) => file.is_end_stream(),
            Kind::Observed(observed) => observed.inner.is_end_stream(),
            Kind::Timed(timed) => timed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(stream) => stream.size_hint(),
            Kind::File(file) => file.size_hint(),
            Kind::Observed(observed) => observed.inner.size_hint(),
            Kind::Timed(timed) => timed.size_hint(),
        }
    }
}

pin_project_lite::pin_project! {
    /// Another body in this crate's terms. (`BodyExt::map_frame` would lose the length.)
    struct ConvertedBody<B> {
        #[pin]
        body: B,
    }
}

impl<B: AnyBody> HttpBody for ConvertedBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = self.project().body.poll_frame(cx);
        frame.map_ok(|frame| frame.map_data(Into::into)).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Empty => f.write_str("Body::empty"),
            Kind::Full(bytes) => write!(f, "Body({} octets)", bytes.len()),
            Kind::Stream(_) | Kind::File(_) | Kind::Observed(_) | Kind::Timed(_) => f.write_str("Body(stream)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_wrapped_twice_is_the_same_body() {
        let body = Body::new(Body::from("abc"));
        assert_eq!(body.as_full(), Some(&b"abc"[..]));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
    }

    #[tokio::test]
    async fn many_octets_in_memory_are_handed_over_in_parts() {
        let octets: Vec<u8> = (0..=255).cycle().take(Body::LONGEST_FRAME * 2 + 1).collect();
        let whole = Body::from(octets.clone());
        assert_eq!((whole.as_full(), whole.as_frame()), (Some(&octets[..]), None));
        let (mut body, mut got, mut lengths) = (whole, Vec::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            assert_eq!(
                body.size_hint().exact(),
                Some((octets.len() - got.len()) as u64 - frame.as_ref().unwrap().data_ref().unwrap().len() as u64)
            );
            let data = frame.unwrap().into_data().unwrap();
            lengths.push(data.len());
            got.extend_from_slice(&data);
        }
        assert!(body.is_end_stream() && got == octets);
        assert_eq!(lengths, [Body::LONGEST_FRAME, Body::LONGEST_FRAME, 1]);
        let short = Body::from(octets[..Body::LONGEST_FRAME].to_vec());
        assert_eq!(short.as_frame(), short.as_full());
    }

    #[test]
    fn only_a_body_in_memory_is_turned_into_octets() {
        assert_eq!(Bytes::try_from(Body::from("abc")).unwrap(), "abc");
        assert_eq!(Bytes::try_from(Body::empty()).unwrap(), "");
        assert_eq!(Bytes::try_from(Body::new(http_body_util::Full::new(Bytes::from("abc")))).unwrap_err().size_hint().exact(), Some(3));
    }

    #[tokio::test]
    async fn a_body_is_a_file_only_as_long_as_nobody_sees_its_octets() {
        struct Count(std::sync::Arc<std::sync::atomic::AtomicU64>);
        impl Observer for Count {
            fn observe(&mut self, handed: Handed) {
                if let Handed::Octets(octets, _) = handed {
                    self.0.fetch_add(octets, std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
        let file = || {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, b"abcd").unwrap();
            Body::new(FileBody::new(file, 1..4))
        };
        let counted = std::sync::Arc::default();
        let body = Body::new(Body::new(file()).observed(Count(std::sync::Arc::clone(&counted))));
        assert!(body.is_file());
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "bcd");
        assert_eq!(counted.load(std::sync::atomic::Ordering::Relaxed), 3);
        assert!(!Body::new(file().map_frame(|frame| frame)).is_file());
        assert!(!Body::from("abc").observed(Count(counted)).is_file());
    }

    #[tokio::test]
    async fn a_foreign_body_keeps_its_length_and_octets() {
        let body = Body::new(http_body_util::Full::new(Bytes::from_static(b"abcd")));
        assert_eq!(body.size_hint().exact(), Some(4));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcd");
    }
}
