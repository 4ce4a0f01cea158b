//! `body_limit`: bounds request bodies.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body::{Body as HttpBody, Frame, SizeHint};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::Size;
use crate::{
    Behavior, Body, BoxError, Context, Effect, Effects, Explain, Finding, IntoStage, Middleware, Problem, Request, Response, around,
};

/// Refuses request bodies over a size with `413 Content Too Large`.
///
/// | a body | is refused |
/// | --- | --- |
/// | with a `Content-Length` over the limit | before the app is called |
/// | of unknown length (`Transfer-Encoding: chunked`, HTTP/2) | while it is read: the app's read fails, and the client gets 413 unless the app answers otherwise |
///
/// Octets are counted where the layer stands. A route may set a smaller limit of its own; a larger limit below a smaller one has no effect.
///
/// Place it above everything that reads request bodies.
///
/// ```json
/// { "layers": [{ "body_limit": "10MiB" }], "app": { "wsgi": "hello:app" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BodyLimit {
    /// The size of the largest body that passes. Raise it for uploads.
    at_most: Size,
}

impl Default for BodyLimit {
    fn default() -> Self {
        Self { at_most: Size::mib(10) }
    }
}

impl Middleware for BodyLimit {
    const NAME: &'static str = "body_limit";
    const SHORTHAND: Option<&'static str> = Some("at_most");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::LimitsRequestBody, Behavior::AnswersEarly];

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let limit = self.at_most;
        match check(explain.request(), limit) {
            Err(problem) => explain.refuse(problem),
            Ok(_) if explain.request().headers().contains_key(TRANSFER_ENCODING) => {
                explain.may_answer(StatusCode::PAYLOAD_TOO_LARGE, format!("if the body turns out to be over {limit}"));
            }
            Ok(0) => explain.note(format!("no body: at most {limit} passes")),
            Ok(announced) => explain.note(format!("the body of {} passes: at most {limit} does", Size(announced))),
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.refuse_with([StatusCode::PAYLOAD_TOO_LARGE]);
        effects.by("at_most", Effect::BoundsBody(self.at_most.0));
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
        let limit = self.at_most;
        Ok(around(move |request: &mut Request| {
            check(request, limit)?;
            // A body of known length cannot exceed it: the server enforces Content-Length.
            if request.body().size_hint().exact().is_none() {
                let inner = std::mem::take(request.body_mut());
                *request.body_mut() = Body::new(LimitedBody { inner, left: Some(limit.0), limit });
            }
            Ok(|response: Response| response)
        }))
    }
}

/// The length that the request announces, where it is not over the limit.
fn check(request: &Request, limit: Size) -> Result<u64, Problem> {
    let announced = announced(request);
    if announced > limit.0 { Err(too_large(limit)) } else { Ok(announced) }
}

/// The length that the request announces.
fn announced(request: &Request) -> u64 {
    let header = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    header.unwrap_or(0).max(request.body().size_hint().lower())
}

fn too_large(limit: Size) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE).detail(format!("the request body is over {limit}"))
}

/// A body that fails at the first octet over the limit, and at every read after that: a cut body never looks complete.
struct LimitedBody {
    inner: Body,
    /// How many octets may follow; `None` once there were too many.
    left: Option<u64>,
    limit: Size,
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(left) = self.left else {
            return Poll::Ready(Some(Err(too_large(self.limit).into())));
        };
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.left = left.checked_sub(data.len() as u64);
            if self.left.is_none() {
                return Poll::Ready(Some(Err(too_large(self.limit).into())));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_some() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http::Method;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;
    use crate::{TestStack, request};

    /// Answers with the length it read, or with what the body failed with.
    fn stack(options: &str) -> TestStack {
        TestStack::of::<BodyLimit>(options).over(async |request: Request| match request.into_body().collect().await {
            Ok(body) => Response::new(Body::from(body.to_bytes().len().to_string())),
            Err(error) => error.downcast::<Problem>().unwrap().into_response(),
        })
    }

    fn chunks(chunks: &'static [&'static str]) -> Body {
        Body::new(StreamBody::new(stream::iter(
            chunks.iter().map(|chunk| Ok::<_, BoxError>(Frame::data(Bytes::from_static(chunk.as_bytes())))),
        )))
    }

    #[tokio::test]
    async fn a_body_of_the_limit_passes_and_one_octet_more_does_not() {
        let stack = stack(r#""4B""#);
        assert_eq!(stack.send(request(Method::POST, "/", "1234")).await.text(), "4");
        let refused = stack.send(request(Method::POST, "/", "12345")).await;
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(refused.text().contains("the request body is over 4B"), "{}", refused.text());
    }

    #[tokio::test]
    async fn an_announced_length_is_refused_before_the_app_is_called() {
        let stack = TestStack::of::<BodyLimit>(r#""1KiB""#).over(async |_| panic!("reached"));
        let mut request = request(Method::POST, "/", chunks(&["a"]));
        request.headers_mut().insert(CONTENT_LENGTH, http::HeaderValue::from_static("1025"));
        assert_eq!(stack.send(request).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_stream_is_counted_while_it_is_read() {
        let stack = stack(r#"{"at_most": "4B"}"#);
        assert_eq!(stack.send(request(Method::POST, "/", chunks(&["12", "34"]))).await.text(), "4");
        let refused = stack.send(request(Method::POST, "/", chunks(&["12", "34", "5"]))).await;
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_body_cut_at_the_limit_keeps_failing() {
        let mut body = LimitedBody { inner: chunks(&["12345", ""]), left: Some(4), limit: Size(4) };
        for _ in 0..3 {
            assert!(body.frame().await.unwrap().is_err());
            assert!(!body.is_end_stream());
        }
    }

    #[tokio::test]
    async fn an_app_that_does_not_read_the_body_answers_as_it_likes() {
        let stack = TestStack::of::<BodyLimit>(r#""1B""#).over_text("unread");
        assert_eq!(stack.send(request(Method::POST, "/", chunks(&["12345"]))).await.text(), "unread");
    }

    #[tokio::test]
    async fn a_service_that_fails_with_the_bodys_error_answers_413() {
        let app = tower::service_fn(async |request: Request| match request.into_body().collect().await {
            Ok(_) => Ok(Response::new(Body::empty())),
            Err(error) => Err(error),
        });
        let stack = TestStack::of::<BodyLimit>(r#""1B""#).over_next(crate::Next::new("app", app));
        assert_eq!(stack.send(request(Method::POST, "/", chunks(&["12345"]))).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn ten_mebibytes_are_let_through_by_default() {
        let stack = stack("null");
        assert_eq!(stack.send(request(Method::POST, "/", vec![0; 10 << 20])).await.text(), "10485760");
        assert_eq!(stack.send(request(Method::POST, "/", vec![0; (10 << 20) + 1])).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn a_number_without_a_unit_is_refused() {
        assert!(TestStack::refusal::<BodyLimit>("1000")[0].contains("has no unit"));
    }
}
