//! `WWW-Authenticate` (RFC 9110 section 11.6.1): what a client needs to get in.

use std::fmt::Write;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};

use crate::units::HeaderText;
use crate::{Finding, Problem};

/// The challenge of a scheme whose refusals say why, as RFC 6750 section 3 has it for `Bearer`.
#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    /// `Bearer realm="..."`, as text that a header can have.
    start: String,
}

impl Challenge {
    pub(crate) fn new(scheme: &str, realm: &HeaderText) -> Result<Self, Finding> {
        let realm = quoted(realm.0.as_bytes());
        let start = String::from_utf8([scheme.as_bytes(), b" realm=", &realm].concat())?;
        HeaderValue::from_str(&start)?;
        Ok(Self { start })
    }

    /// The refusal of a request without credentials. It gives no reason (RFC 6750 section 3.1).
    pub(crate) fn missing(&self, detail: &'static str) -> Problem {
        self.refuse(StatusCode::UNAUTHORIZED, "").detail(detail)
    }

    /// The refusal of credentials that are wrong.
    pub(crate) fn invalid(&self, detail: &'static str) -> Problem {
        self.refuse(StatusCode::UNAUTHORIZED, ", error=\"invalid_token\"").detail(detail)
    }

    /// The refusal of several credentials in one request.
    pub(crate) fn several(&self, detail: &'static str) -> Problem {
        self.refuse(StatusCode::BAD_REQUEST, ", error=\"invalid_request\"").detail(detail)
    }

    /// The refusal of credentials that lack one of these scopes.
    pub(crate) fn forbidden(&self, scopes: &[String]) -> Problem {
        let mut reason = ", error=\"insufficient_scope\"".to_owned();
        if !scopes.is_empty() {
            let _ = write!(reason, ", scope=\"{}\"", scopes.join(" "));
        }
        self.refuse(StatusCode::FORBIDDEN, &reason)
    }

    fn refuse(&self, status: StatusCode, reason: &str) -> Problem {
        let problem = Problem::new(status);
        match HeaderValue::from_str(&format!("{}{reason}", self.start)) {
            Ok(challenge) => problem.header(WWW_AUTHENTICATE, challenge),
            Err(error) => Problem::internal(error),
        }
    }
}

/// A quoted string (RFC 9110 section 5.6.4).
pub(crate) fn quoted(text: &[u8]) -> Vec<u8> {
    let mut quoted = b"\"".to_vec();
    for octet in text {
        if matches!(octet, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*octet);
    }
    quoted.push(b'"');
    quoted
}

/// Whether this can be a scope (RFC 6749 section 3.3).
pub(crate) fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| matches!(octet, b'!' | b'#'..=b'[' | b']'..=b'~'))
}
