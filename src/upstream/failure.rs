//! How an attempt to have a request answered fails: one typed outcome that retries, ejection, the log and the figures all read.

use std::fmt;

use http::StatusCode;
use ziggurat_middleware::BoxError;

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
    pub(crate) cause: BoxError,
}

/// What an attempt was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Opening a connection, up to the last octet of its handshakes.
    Connect,
    /// Sending the request and waiting for the head of the answer.
    Head,
    /// Reading the body of the answer.
    Body,
}

/// What went wrong, as far as it decides what may be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No connection: the upstream saw nothing of the request.
    Unreachable,
    /// A kept connection was closed before anything of the request was sent.
    Unsent,
    /// The upstream says that it did not process the request (RFC 9113 section 8.7).
    Refused,
    /// A kept connection ended before the first octet of an answer. The upstream may have closed it before it saw the request.
    Stale,
    /// A new connection ended before the first octet of an answer.
    Reset,
    /// The time for this phase is over.
    Timeout,
    /// The answer breaks the rules of the protocol.
    Malformed,
    /// The answer ended before its end.
    Cut,
}

impl Kind {
    /// All kinds, for figures.
    pub(crate) const ALL: [Self; 8] =
        [Self::Unreachable, Self::Unsent, Self::Refused, Self::Stale, Self::Reset, Self::Timeout, Self::Malformed, Self::Cut];

    /// The name in the log and in figures.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unsent => "unsent",
            Self::Refused => "refused",
            Self::Stale => "stale",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Cut => "cut",
        }
    }

    /// Whether the failure speaks against the endpoint. An HTTP/2 server may refuse single requests, and any server may close a kept connection.
    pub(crate) const fn is_held_against_endpoint(self) -> bool {
        !matches!(self, Self::Unsent | Self::Refused | Self::Stale)
    }
}

impl Phase {
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
    pub(crate) fn new(kind: Kind, phase: Phase, cause: impl Into<BoxError>) -> Self {
        Self { kind, phase, cause: cause.into() }
    }

    /// No connection could be opened.
    pub(crate) fn unreachable(cause: impl Into<BoxError>) -> Self {
        Self::new(Kind::Unreachable, Phase::Connect, cause)
    }

    /// The answer breaks the rules of the protocol.
    pub(crate) fn malformed(cause: impl Into<BoxError>) -> Self {
        Self::new(Kind::Malformed, Phase::Head, cause)
    }

    /// The same failure, for another request that it ends.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.kind, self.phase, self.to_string())
    }

    /// Whether the upstream cannot have begun to process the request.
    pub(crate) const fn is_unprocessed(&self) -> bool {
        matches!(self.kind, Kind::Unreachable | Kind::Unsent | Kind::Refused)
            || matches!((self.kind, self.phase), (Kind::Timeout, Phase::Connect))
    }

    /// The status that a client gets (RFC 9110 sections 15.6.3 and 15.6.5).
    pub(crate) const fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
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
