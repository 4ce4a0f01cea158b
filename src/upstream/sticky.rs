//! Sticky sessions: a cookie names the endpoint that answered before. Its value is opaque.

use std::hash::{BuildHasher, RandomState};

use http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use schemars::JsonSchema;
use serde::Deserialize;
use ziggurat_middleware::{Finding, Findings, cookies, units};

/// A cookie that sends a client to the server that answered it before.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StickyOptions {
    /// The name of the cookie. Its value is a keyed hash, so it does not reveal the server. The key is generated at the start: after a restart, clients are balanced anew.
    cookie: String,
    /// How long the browser keeps the cookie, as in `"1h"`. By default it keeps the cookie until it is closed.
    #[serde(default, rename = "for")]
    time: Option<units::Duration>,
}

impl StickyOptions {
    /// What it means for a request.
    pub(crate) fn in_words(&self) -> String {
        format!("a client with the cookie `{}` gets the server of its last response", self.cookie)
    }

    pub(crate) fn validate(&self, findings: &mut Findings) {
        let is_token = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
        if self.cookie.is_empty() || !self.cookie.bytes().all(is_token) {
            let finding = Finding::new(format!("`{}` is not the name of a cookie (RFC 6265 section 4.1.1)", self.cookie.escape_debug()));
            findings.push(finding.at("sticky").at("cookie").hint("letters, digits, `-` and `_`"));
        }
        if self.time.is_some_and(|time| time < units::Duration::secs(1)) {
            let finding = Finding::new("a cookie lives for a second at least").at("sticky").at("for");
            findings.push(finding.hint("usual are hours, as in `\"1h\"`; without `for` it lives until the browser is closed"));
        }
    }

    /// The value of the request's cookie.
    pub(super) fn read(&self, headers: &HeaderMap) -> Option<u64> {
        u64::from_str_radix(std::str::from_utf8(cookies::first(headers, &self.cookie)?).ok()?, 16).ok()
    }

    /// Names the endpoint in a response.
    pub(super) fn write(&self, id: u64, is_secure: bool, headers: &mut HeaderMap) {
        let mut text = format!("{}={id:016x}; Path=/; HttpOnly; SameSite=Lax", self.cookie);
        if let Some(time) = self.time {
            text.push_str(&format!("; Max-Age={}", time.0.as_secs()));
        }
        if is_secure {
            text.push_str("; Secure");
        }
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(SET_COOKIE, value);
        }
    }
}

/// The key of the hash.
#[derive(Debug, Default)]
pub(crate) struct StickyKey(RandomState);

impl StickyKey {
    /// The opaque name of an endpoint.
    pub(crate) fn id(&self, identity: &str) -> u64 {
        self.0.hash_one(identity)
    }
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    #[test]
    fn a_cookie_is_read_back_as_it_was_written() {
        let options = StickyOptions { cookie: "upstream".to_owned(), time: Some(units::Duration::secs(3600)) };
        let mut response = HeaderMap::new();
        let id = StickyKey::default().id("http://10.0.0.5:9000");
        options.write(id, true, &mut response);
        let text = response[SET_COOKIE].to_str().unwrap().to_owned();
        assert!(text.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure") && !text.contains("10.0"), "{text}");
        let pair = text.split(';').next().unwrap();
        for line in [pair.to_owned(), format!("a=b; {pair}"), format!("{pair};c=d"), format!("theme=ä; {pair}")] {
            let request = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap())]);
            assert_eq!(options.read(&request), Some(id), "{line}");
        }
        for line in ["upstream=", "upstream=zz", "upstreamx=1", "=1", "upstream"] {
            let request = HeaderMap::from_iter([(COOKIE, line.parse().unwrap())]);
            assert_eq!(options.read(&request), None, "{line}");
        }
    }
}
