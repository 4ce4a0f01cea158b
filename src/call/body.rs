//! The body of a request on its way to the app: received whole before a thread is taken up, or streamed with back-pressure if the app asks for that.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError};
use ziggurat_middleware::spool::{ConnectionRoom, Spool, SpoolBudget, Spooled};
use ziggurat_middleware::{Body, BoxError, Problem};

use super::pipe::{Disconnected, Writer, pipe};
use super::{BodyFailure, RequestBody};
use crate::cgi::content_length;

/// How many octets of a streamed body may wait for the app.
const BUDGET: usize = 256 * 1024;

/// A body as the app reads it, and its length where that is known.
pub(crate) struct ReceivedBody {
    pub(crate) body: RequestBody,
    pub(crate) length: Option<u64>,
}

impl ReceivedBody {
    /// A body that is in memory already, as that of a request without one is.
    ///
    /// # Errors
    ///
    /// Returns any other body.
    pub(crate) fn at_hand(parts: &Parts, body: Body) -> Result<Self, Body> {
        let octets = match Bytes::try_from(body) {
            Ok(octets) => octets,
            Err(body) if body.is_end_stream() => Bytes::new(),
            Err(body) => return Err(body),
        };
        let length = if octets.is_empty() { content_length(&parts.headers) } else { Some(octets.len() as u64) };
        Ok(Self { body: RequestBody::Whole(octets), length })
    }
}

/// Receives a body that is not [at hand](ReceivedBody::at_hand) to its end, in memory or in a file. With `streaming`, a body that does not fit into memory, and one that the client sends only after
/// `100 Continue`, is streamed instead.
pub(crate) async fn receive(parts: &Parts, mut body: Body, budget: &Arc<SpoolBudget>, streaming: bool) -> Result<ReceivedBody, BoxError> {
    let length = body.size_hint().exact().or_else(|| content_length(&parts.headers));
    let awaits_word = parts.headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if streaming && awaits_word {
        return Ok(ReceivedBody { body: stream([], body, true), length });
    }
    let mut spool = Spool::new(Arc::clone(budget), parts.extensions.get::<ConnectionRoom>(), length.filter(|_| !streaming))?;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if !streaming {
            spool.push(data).await?;
        } else if let Some(data) = spool.hold(data) {
            // The beginning was read, too: a client that sends very little holds no thread.
            return Ok(ReceivedBody { body: stream([spool.into_memory(), data], body, false), length });
        }
    }
    let length = Some(spool.length());
    let body = match spool.finish().await? {
        Spooled::Memory(octets) => RequestBody::Whole(octets),
        Spooled::File(file) => RequestBody::Spooled(file.into()),
    };
    Ok(ReceivedBody { body, length })
}

/// Moves the rest of a body into a pipe, in a task that ends with the body or the reader.
fn stream<const N: usize>(head: [Bytes; N], body: Body, lazy: bool) -> RequestBody {
    let (writer, reader) = pipe(BUDGET, lazy);
    head.into_iter().for_each(|chunk| writer.put(chunk));
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

    /// A file that waits for the app cannot be read.
    pub(crate) fn unreadable(error: &io::Error) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, detail: format!("the file of the body cannot be read: {error}") }
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
