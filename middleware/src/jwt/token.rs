//! A signed token (RFC 7515, RFC 7519), and who may trust it.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::verify;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::claims::{Claims, Expectation};
use super::keys::KeySet;

/// The longest token, in octets.
const LONGEST: usize = 16 << 10;

/// The most keys that a signature is tried with, where the token does not name its key.
const MOST_TRIED: usize = 4;

/// Judges tokens.
pub(crate) struct Verifier {
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) expected: Expectation,
}

/// Why a token is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// No key has its id: the keys may have changed.
    UnknownKey,
    /// For any other reason.
    Because(&'static str),
}

impl Distrust {
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::UnknownKey => "its key is not known",
            Self::Because(reason) => reason,
        }
    }
}

impl Verifier {
    /// The claims of a token that is signed with one of these keys and valid now: so long after 1970.
    pub(crate) fn verify(&self, keys: &KeySet, token: &[u8], now: Duration) -> Result<Claims, Distrust> {
        const MALFORMED: Distrust = Distrust::Because("it is no signed token");
        if token.len() > LONGEST {
            return Err(Distrust::Because("it is too long"));
        }
        let token = std::str::from_utf8(token).map_err(|_| MALFORMED)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, payload) = signed.split_once('.').ok_or(MALFORMED)?;
        let header = object(header).ok_or(MALFORMED)?;
        // Extensions that have to be understood are not (RFC 7515 section 4.1.11).
        if header.contains_key("crit") {
            return Err(Distrust::Because("it has an extension that is not known"));
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::named);
        let algorithm = algorithm.filter(|algorithm| self.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(Distrust::Because("its algorithm is not among `algorithms`"))?;
        let id = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(MALFORMED)?),
        };
        let (candidates, is_known) = keys.find(id, algorithm);
        let is_right = |key: &super::keys::Key| verify(signature, signed.as_bytes(), &key.key, algorithm.0).unwrap_or(false);
        if !candidates.take(MOST_TRIED).any(is_right) {
            return Err(if is_known { Distrust::Because("its signature is wrong") } else { Distrust::UnknownKey });
        }
        let claims = Claims(object(payload).ok_or(MALFORMED)?);
        self.expected.check(&claims, now).map_err(Distrust::Because)?;
        Ok(claims)
    }
}

/// The JSON object in a part of a token.
fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
