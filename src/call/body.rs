//! The body of a request: read into memory up to a limit before a thread is taken up, streamed with back-pressure beyond that.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError};
use ziggurat_middleware::{Body, BoxError, Problem};

use super::pipe::{Disconnected, Writer, pipe};
use super::{BodyFailure, RequestBody};
use crate::cgi::content_length;

/// How many octets of a streamed body may wait for the app.
const BUDGET: usize = 256 * 1024;

/// A body as the app reads it, and its length where that is known.
pub(crate) struct BufferedBody {
    pub(crate) body: RequestBody,
    pub(crate) length: Option<u64>,
}

/// Reads a body of at most `buffer` octets into memory. A longer body, and one that the client sends only after `100 Continue`, is streamed.
pub(crate) async fn buffer_body(headers: &HeaderMap, mut body: Body, buffer: u64) -> Result<BufferedBody, BoxError> {
    let declared = content_length(headers);
    if let Some(octets) = body.as_full() {
        let length = (!octets.is_empty()).then_some(octets.len() as u64).or(declared);
        let whole = body.collect().await?.to_bytes();
        return Ok(BufferedBody { body: RequestBody::Whole(whole), length });
    }
    if body.is_end_stream() {
        return Ok(BufferedBody { body: RequestBody::Whole(Bytes::new()), length: declared });
    }
    let length = body.size_hint().exact().or(declared);
    let awaits_word = headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if awaits_word {
        return Ok(BufferedBody { body: stream(Bytes::new(), body, true), length });
    }
    // The beginning of a body that is known to be longer is read, too: a client that sends very little of it then holds no thread.
    let expected = usize::try_from(length.unwrap_or(0).min(buffer)).unwrap_or(0);
    let mut taken = Joined::default();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        taken.push(data, expected);
        if taken.len() > buffer {
            return Ok(BufferedBody { body: stream(taken.into_bytes(), body, false), length });
        }
    }
    Ok(BufferedBody { length: Some(taken.len()), body: RequestBody::Whole(taken.into_bytes()) })
}

/// Frames joined into one buffer. A single frame is not copied.
#[derive(Default)]
struct Joined {
    first: Bytes,
    joined: BytesMut,
}

impl Joined {
    fn push(&mut self, data: Bytes, expected: usize) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if self.joined.is_empty() {
            self.joined.reserve(expected.max(self.first.len() + data.len()));
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&data);
    }

    fn len(&self) -> u64 {
        (self.first.len() + self.joined.len()) as u64
    }

    fn into_bytes(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

/// Moves the rest of a body into a pipe, in a task that ends with the body or the reader.
fn stream(head: Bytes, body: Body, lazy: bool) -> RequestBody {
    let (writer, reader) = pipe(BUDGET, lazy);
    if !head.is_empty() {
        writer.put(head);
    }
    tokio::spawn(pump(body, writer));
    RequestBody::Stream(reader)
}

async fn pump(mut body: Body, writer: Writer<Arc<BodyFailure>>) {
    // If the app leaves the rest unread, a client that sends nothing more must not keep this task.
    while poll_fn(|cx| writer.poll_room(cx)).await.is_ok() {
        let frame = poll_fn(|cx| {
            if writer.poll_disconnected(cx).is_ready() {
                return Poll::Ready(None);
            }
            Pin::new(&mut body).poll_frame(cx).map(Some)
        });
        match frame.await {
            None => return,
            Some(None) => return writer.finish(),
            Some(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    writer.put(data);
                }
            }
            Some(Some(Err(error))) => return writer.fail(Arc::new(BodyFailure::of(&*error))),
        }
    }
}

/// The task that read the body was dropped: the server shuts down.
impl From<Disconnected> for Arc<BodyFailure> {
    fn from(abandoned: Disconnected) -> Self {
        Self::new(BodyFailure::of(&abandoned))
    }
}

impl BodyFailure {
    /// Classifies an error of a body by its cause.
    pub(crate) fn of(error: &(dyn Error + Send + Sync + 'static)) -> Self {
        let mut link: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = link {
            if let Some(problem) = error.downcast_ref::<Problem>() {
                return Self { status: problem.status(), detail: problem.to_string() };
            }
            if error.is::<LengthLimitError>() {
                return Self { status: StatusCode::PAYLOAD_TOO_LARGE, detail: "the body is larger than allowed".to_owned() };
            }
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                return Self { status: StatusCode::REQUEST_TIMEOUT, detail: "the body did not arrive in time".to_owned() };
            }
            link = error.source();
        }
        Self { status: StatusCode::BAD_REQUEST, detail: format!("the body is malformed or was cut short: {error}") }
    }

    /// The response to the client.
    pub(crate) fn problem(&self) -> Problem {
        Problem::new(self.status).detail(match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => "the body is larger than allowed",
            StatusCode::REQUEST_TIMEOUT => "the body did not arrive in time",
            _ => "the body is malformed or was cut short",
        })
    }
}
