//! What the entries of a store hold.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::challenges::Challenge;
use super::super::failure::FailureKind;
use super::super::renewal::Window;
use super::super::time::Timestamp;

/// An account with a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::acme) struct AccountRecord {
    pub(in crate::acme) directory: String,
    /// As the directory knows it; an empty text is none.
    pub(in crate::acme) email: String,
    pub(in crate::acme) created_at: Timestamp,
    /// Whether it took the place of one that the directory had forgotten.
    pub(in crate::acme) is_replacement: bool,
    /// The URL of the account and its key.
    pub(in crate::acme) credentials: Value,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::acme) struct CertificateRecord {
    pub(in crate::acme) name: String,
    /// The URL of the account that ordered it.
    pub(in crate::acme) account: String,
    pub(in crate::acme) issued_at: Timestamp,
    /// In PEM, the certificate itself first.
    pub(in crate::acme) chain: String,
    /// In PEM.
    pub(in crate::acme) key: String,
}

/// An attempt that is under way or has failed. It is written before the attempt begins, so that neither a crash nor another machine begins the next one too early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::acme) struct AttemptRecord {
    /// The attempts in a row, this one included.
    pub(in crate::acme) count: u32,
    pub(in crate::acme) started_at: Timestamp,
    /// Nobody tries again before.
    pub(in crate::acme) next_at: Timestamp,
    pub(in crate::acme) kind: FailureKind,
    pub(in crate::acme) message: String,
}

/// When a certificate is to be renewed, as the authority says (RFC 9773).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::acme) struct RenewalRecord {
    /// The serial number of the certificate.
    pub(in crate::acme) serial: String,
    /// `None` if the authority has no opinion, or could not be asked.
    pub(in crate::acme) window: Option<Window>,
    pub(in crate::acme) ask_again_at: Timestamp,
}

/// What the authority is to find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::acme) struct ChallengeRecord {
    pub(in crate::acme) challenge: Challenge,
    pub(in crate::acme) name: String,
    pub(in crate::acme) token: String,
    /// The key authorization; for TLS-ALPN-01 its SHA-256 digest in base64url.
    pub(in crate::acme) answer: String,
}

impl ChallengeRecord {
    /// What the authority asks for it by.
    pub(in crate::acme) fn key(&self) -> &str {
        match self.challenge {
            Challenge::Http01 => &self.token,
            Challenge::TlsAlpn01 => &self.name,
        }
    }
}
