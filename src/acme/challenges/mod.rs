//! Challenges: what the authority asks this server for, to see that it serves a name (RFC 8555 section 8).
//!
//! The process that orders leaves the answer in the store before it tells the authority, and any process with the same store answers. Nothing is answered that
//! is not in the store.

mod http01;
mod tls_alpn01;

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::store::Store;
pub(crate) use http01::answer_http01;
pub(super) use http01::is_token;

/// A way to show that this server serves a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) enum Challenge {
    /// A certificate on port 443 for the protocol `acme-tls/1` (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A file on port 80 (RFC 8555 section 8.3).
    #[serde(rename = "http-01")]
    Http01,
}

impl Challenge {
    pub(crate) const ALL: [Self; 2] = [Self::TlsAlpn01, Self::Http01];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        }
    }

    pub(super) const fn kind(self) -> instant_acme::ChallengeType {
        match self {
            Self::TlsAlpn01 => instant_acme::ChallengeType::TlsAlpn01,
            Self::Http01 => instant_acme::ChallengeType::Http01,
        }
    }
}

/// The certificate that answers a TLS-ALPN-01 challenge for a name, if one is under way.
pub(super) fn certificate(store: &Store, name: &str) -> Option<Arc<CertifiedKey>> {
    let record = store.challenge(Challenge::TlsAlpn01, name)?;
    match tls_alpn01::certificate(name, &record.answer) {
        Ok(certified) => Some(Arc::new(certified)),
        Err(error) => {
            tracing::error!(name, "cannot make the certificate of a TLS-ALPN-01 challenge: {error}");
            None
        }
    }
}
