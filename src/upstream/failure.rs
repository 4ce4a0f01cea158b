//! Why an attempt failed: one typed outcome for retries, ejection, the log and the figures.

use std::{fmt, io};

use http::StatusCode;
use ziggurat_middleware::{BoxError, is_out_of_descriptors};

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) phase: FailurePhase,
    pub(crate) cause: BoxError,
}

/// What an attempt was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailurePhase {
    /// Opening a connection, up to the last octet of its handshakes.
    Connect,
    /// Sending the request and waiting for the head of the answer.
    Head,
    /// Reading the body of the answer.
    Body,
}

/// What went wrong. It decides whether the request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No connection could be opened.
    Unreachable,
    /// No connection had room in time, because the upstream allows too few exchanges at once; or this process has too many descriptors open for another one.
    Full,
    /// A reused connection was closed before the request was sent.
    Unsent,
    /// The upstream says that it did not process the request (RFC 9113 section 8.7).
    Refused,
    /// A connection that was kept ended before the response. The upstream may have closed it before it saw the request.
    Stale,
    /// A new connection ended before the response.
    Reset,
    /// The phase took too long.
    Timeout,
    /// The response violates the protocol.
    Malformed,
    /// The response body ended early.
    Cut,
}

impl FailureKind {
    /// All kinds, for figures.
    pub(crate) const ALL: [Self; 9] =
        [Self::Unreachable, Self::Full, Self::Unsent, Self::Refused, Self::Stale, Self::Reset, Self::Timeout, Self::Malformed, Self::Cut];

    /// The name in the log and in figures.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Full => "full",
            Self::Unsent => "unsent",
            Self::Refused => "refused",
            Self::Stale => "stale",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Cut => "cut",
        }
    }

    /// Whether the failure counts for ejection. An HTTP/2 server may limit its streams and refuse single requests, and any server may close an idle connection.
    pub(crate) const fn is_held_against_endpoint(self) -> bool {
        !matches!(self, Self::Full | Self::Unsent | Self::Refused | Self::Stale)
    }
}

impl FailurePhase {
    /// The name in the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Head => "head",
            Self::Body => "body",
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, phase: FailurePhase, cause: impl Into<BoxError>) -> Self {
        Self { kind, phase, cause: cause.into() }
    }

    /// No connection could be opened.
    pub(crate) fn unreachable(cause: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Unreachable, FailurePhase::Connect, cause)
    }

    /// The system has not opened a connection.
    pub(crate) fn not_opened(error: io::Error) -> Self {
        let kind = if is_out_of_descriptors(&error) { FailureKind::Full } else { FailureKind::Unreachable };
        Self::new(kind, FailurePhase::Connect, error)
    }

    /// The response violates the protocol.
    pub(crate) fn malformed(cause: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Malformed, FailurePhase::Head, cause)
    }

    /// The same failure, for another request that waited for the same connection.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.kind, self.phase, self.to_string())
    }

    /// Whether the upstream cannot have begun to process the request.
    pub(crate) const fn is_unprocessed(&self) -> bool {
        matches!(self.kind, FailureKind::Unreachable | FailureKind::Full | FailureKind::Unsent | FailureKind::Refused)
            || matches!((self.kind, self.phase), (FailureKind::Timeout, FailurePhase::Connect))
    }

    /// The status that a client gets (RFC 9110 sections 15.6.3 to 15.6.5).
    pub(crate) const fn status(&self) -> StatusCode {
        match self.kind {
            FailureKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            FailureKind::Full => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        let mut source = self.cause.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
