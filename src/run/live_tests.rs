//! Requests to a stack that is built in memory, for `ziggurat test --live`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Extensions, HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::timeout;
use ziggurat_middleware::{Body, Lifecycle, Next, Problem, Request, RequestSummary};

use super::{end, privilege, runtime};
use crate::pipeline::{Pipeline, Report};
use crate::worker::Trial;

/// The longest that the head of a response may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most octets of a body that are written at once.
const CHUNK: usize = 64 << 10;

/// The head of a response, and who has answered.
pub(crate) struct LiveAnswer {
    pub(crate) by: Option<String>,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Builds the stack with its apps, one worker for each, and sends it the requests one after the other. It listens on nothing.
///
/// # Errors
///
/// What cannot be acquired or imported, with its place in the file.
pub(crate) fn answers(pipeline: &Pipeline, host: &Extensions, requests: Vec<Result<Request, Problem>>) -> Result<Vec<LiveAnswer>, Report> {
    let runtime = runtime(pipeline)?;
    let entered = runtime.enter();
    let mut host = host.clone();
    host.insert(Trial);
    privilege::start_helpers(pipeline, &mut host)?;
    let lifecycle = Lifecycle::hosted(host);
    let answers = pipeline.build(&lifecycle).map(|stack| {
        runtime.block_on(async {
            let mut answers = Vec::new();
            for request in requests {
                answers.push(answer(&stack, request).await);
            }
            drop(stack);
            lifecycle.retire().await;
            answers
        })
    });
    drop(entered);
    lifecycle.shutdown();
    end(runtime);
    answers
}

async fn answer(stack: &Next, request: Result<Request, Problem>) -> LiveAnswer {
    let mut request = match request {
        Ok(request) => request,
        Err(problem) => {
            let response = problem.into_response();
            let headers = response.headers().clone();
            return LiveAnswer { by: Some("server".to_owned()), status: response.status(), headers, took: Duration::ZERO };
        }
    };
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if let Some(left @ 1..) = length {
        *request.body_mut() = Body::new(Zeros { left });
    }
    let summary = RequestSummary::of(request.extensions()).cloned();
    let start = Instant::now();
    let response = match timeout(PATIENCE, stack.clone().run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT).into_response(),
    };
    let by = summary.as_ref().and_then(RequestSummary::answered_by).map(ToString::to_string);
    LiveAnswer { by, status: response.status(), headers: response.headers().clone(), took: start.elapsed() }
}

/// A body of so many octets.
struct Zeros {
    left: u64,
}

impl HttpBody for Zeros {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        static ZEROS: [u8; CHUNK] = [0; CHUNK];
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let size = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        self.left -= size as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS[..size])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
