//! Responses to requests that cannot be served.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use rustix::io::Errno;

use crate::{Body, BoxError, Response};

/// A refusal or failure: a status, a sentence for the client, and a cause for the log.
///
/// A service may return it as its error. The stack turns it into the response, and logs the cause with the place of the layer and the request id.
///
/// ```
/// use ziggurat_middleware::Problem;
/// use http::StatusCode;
///
/// let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE).detail("the body is over 10 MiB");
/// assert_eq!(problem.into_response().status(), 413);
/// ```
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    // A list is smaller than a map, and this type is often the error of a `Result`.
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<BoxError>,
}

/// The sentence of a [`Problem`] for the client, often empty. In the extensions of a response it says that the server made it, and no app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProblemDetail(pub Cow<'static, str>);

impl Problem {
    /// A problem with this status and no detail.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self { status, detail: Cow::Borrowed(""), headers: Vec::new(), cause: None }
    }

    /// Status 500 with a cause for the log. The client does not see the cause.
    pub fn internal(cause: impl Into<BoxError>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR).because(cause)
    }

    /// What an error of the system means for the client: 503 if no file can be opened because too many are open, which passes, and 500 otherwise. `cause` is for the
    /// log.
    pub fn of_system(error: &io::Error, cause: impl Into<BoxError>) -> Self {
        if is_out_of_descriptors(error) {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE).header(RETRY_AFTER, const { HeaderValue::from_static("1") }).because(cause);
        }
        Self::internal(cause)
    }

    /// Sets a sentence for the client, without a full stop.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds a response header, for instance `Retry-After`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets the cause, for the log only.
    #[must_use]
    pub fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence for the client.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.detail
    }

    /// The response: plain text, `404 Not Found` and the detail below it; [`ProblemDetail`] is among its extensions.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut text = self.status.to_string();
        text.push('\n');
        if !self.detail.is_empty() {
            text.push_str(&self.detail);
            text.push('\n');
        }
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response.extensions_mut().insert(ProblemDetail(self.detail));
        response
    }
}

/// Whether too many files are open, in this process or in the whole system: EMFILE or ENFILE, also with a path around it. This passes.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(code) => matches!(Errno::from_raw_os_error(code), Errno::MFILE | Errno::NFILE),
        None => error.get_ref().and_then(Error::source).and_then(|source| source.downcast_ref()).is_some_and(is_out_of_descriptors),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_open_files_is_a_503_that_passes() {
        let problem = |errno: Errno| Problem::of_system(&errno.into(), "cannot open it");
        for errno in [Errno::MFILE, Errno::NFILE] {
            let response = problem(errno).into_response();
            assert_eq!((response.status().as_u16(), response.headers()[RETRY_AFTER].as_bytes()), (503, &b"1"[..]));
        }
        assert_eq!(problem(Errno::IO).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
