//! Sessions and logins under way, and the cookies that hold them.

use http::header::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::BoxError;

/// Who has logged in. The browser keeps it, sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    /// Tells it from others, so that it can be ended.
    pub(super) id: String,
    /// When the login was, in seconds since 1970.
    pub(super) began: u64,
    /// When it was sealed.
    pub(super) sealed: u64,
    /// When it ends.
    pub(super) until: u64,
    /// The claims that the layer uses, by the names that its options have for them.
    pub(super) claims: Map<String, Value>,
    /// The ID token, for the logout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

impl Session {
    /// The session with a later end, if it is time for a new cookie: a quarter of the time of rest is over.
    pub(super) fn renewed(&self, now: u64, rest: u64, longest: u64) -> Option<Self> {
        let until = (now + rest).min(self.began + longest);
        (now >= self.sealed + rest / 4 && until > self.until).then(|| Self { sealed: now, until, ..self.clone() })
    }
}

/// A login that has begun in a browser.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// Comes back from the provider with the browser (RFC 6749 section 10.12).
    pub(super) state: String,
    /// Comes back in the ID token (OpenID Connect Core 1.0 section 15.5.2).
    pub(super) nonce: String,
    /// Shows that the code was asked for here (RFC 7636).
    pub(super) verifier: String,
    /// The target that was asked for.
    pub(super) back: String,
    pub(super) until: u64,
}

/// The longest target that is returned to.
const LONGEST_BACK: usize = 1024;

/// A target of this site to return to: `/` for one that a browser would take for another site, and for one that is too long.
pub(super) fn back(target: &str) -> String {
    let leads_away =
        !target.starts_with('/') || target.starts_with("//") || target.contains('\\') || target.contains(|c: char| c.is_control());
    if leads_away || target.len() > LONGEST_BACK { "/".to_owned() } else { target.to_owned() }
}

/// `Set-Cookie` for this host alone, over https alone, out of reach of scripts, and not sent with requests of other sites except for links.
pub(super) fn cookie(name: &str, value: &str, seconds: u64) -> Result<HeaderValue, BoxError> {
    Ok(HeaderValue::try_from(format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_in_use_gets_a_later_end_now_and_then_but_not_for_ever() {
        let session = Session { id: String::new(), began: 1000, sealed: 1000, until: 1100, claims: Map::new(), hint: None };
        assert!(session.renewed(1024, 100, 1000).is_none());
        let renewed = session.renewed(1025, 100, 1000).unwrap();
        assert_eq!((renewed.began, renewed.sealed, renewed.until), (1000, 1025, 1125));
        let last = Session { sealed: 1900, until: 1995, ..session.clone() }.renewed(1990, 100, 1000).unwrap();
        assert_eq!(last.until, 2000);
        assert!(last.renewed(1999, 100, 1000).is_none());
    }

    #[test]
    fn no_target_leads_to_another_site() {
        for target in ["/", "/a?b=//c", "/a//b"] {
            assert_eq!(back(target), target);
        }
        for target in ["//evil.test", "https://evil.test", "/\\evil.test", "", "*", "/a\r\nb", &format!("/{}", "x".repeat(1024))] {
            assert_eq!(back(target), "/", "{target}");
        }
    }
}
