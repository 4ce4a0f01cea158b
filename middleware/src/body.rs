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
use crate::service::AnyBody;
use crate::timing::{TimedBody, Visit};

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
        if let Some(own) = (&mut slot as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return own.take().unwrap_or_default();
        }
        match slot {
            Some(body) => Self(Kind::Stream(ConvertedBody { body }.boxed_unsync())),
            None => Self::empty(),
        }
    }

    /// The octets, if all of them are in memory.
    #[must_use]
    pub fn as_full(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Empty => Some(&[]),
            Kind::Full(bytes) => Some(bytes),
            Kind::Stream(_) | Kind::Timed(_) => None,
        }
    }

    /// Puts the body that leaves a place under the clock. A body below, which has passed the place unchanged, stays as it is; so does one in memory.
    pub(crate) fn timed(self, visit: &mut Visit) -> Self {
        match self.0 {
            Kind::Stream(stream) => Self(Kind::Timed(Box::new(TimedBody::new(stream, visit.body())))),
            other => Self(other),
        }
    }
}

/// The octets of a body that has all of them in memory; any other body is returned.
impl TryFrom<Body> for Bytes {
    type Error = Body;

    fn try_from(body: Body) -> Result<Self, Body> {
        match body.0 {
            Kind::Empty => Ok(Self::new()),
            Kind::Full(octets) => Ok(octets),
            Kind::Stream(_) | Kind::Timed(_) => Err(body),
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
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(stream) => Pin::new(stream).poll_frame(cx),
            Kind::Timed(timed) => Pin::new(timed).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Stream(stream) => stream.is_end_stream(),
            Kind::Timed(timed) => timed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(stream) => stream.size_hint(),
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
            Kind::Stream(_) | Kind::Timed(_) => f.write_str("Body(stream)"),
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

    #[test]
    fn only_a_body_in_memory_is_turned_into_octets() {
        assert_eq!(Bytes::try_from(Body::from("abc")).unwrap(), "abc");
        assert_eq!(Bytes::try_from(Body::empty()).unwrap(), "");
        assert_eq!(Bytes::try_from(Body::new(http_body_util::Full::new(Bytes::from("abc")))).unwrap_err().size_hint().exact(), Some(3));
    }

    #[tokio::test]
    async fn a_foreign_body_keeps_its_length_and_octets() {
        let body = Body::new(http_body_util::Full::new(Bytes::from_static(b"abcd")));
        assert_eq!(body.size_hint().exact(), Some(4));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcd");
    }
}
