//! What requests are counted by: the client, the user, a header, a cookie, the path, or several of them.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use http::header::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::path::DecodedPath;
use crate::{ClientShare, ConnectionInfo, Effect, Effects, RemoteUser, Request, cookies};

/// One thing that requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyPart {
    /// The client, as a `forwarded` layer has found it, or else the peer of the connection: an IPv4 address, or an IPv6 /64 ([`ClientShare`]).
    Client,
    /// The user that an authentication layer above has determined ([`RemoteUser`]).
    User,
    /// The path, without its percent-encoding and without the query.
    Path,
    /// The values of a header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
}

impl KeyPart {
    /// What a layer does that counts by it.
    pub(crate) fn effects(&self, effects: &mut Effects) {
        match self {
            Self::Client => effects.by("per", Effect::NeedsClient),
            Self::User => effects.by("per", Effect::NeedsUser),
            Self::Header(name) => effects.by("per", Effect::ReadsRequestHeader(name.clone())),
            Self::Path | Self::Cookie(_) => {}
        }
    }
}

/// The key of a request: it hashes equal for requests that are counted together.
///
/// Where the request has no such header, cookie or user, or an empty one, the client takes its place. So a request without a key is counted, too.
///
/// ```
/// use std::hash::{BuildHasher, RandomState};
///
/// use ziggurat_middleware::request_key::{KeyPart, RequestKey};
/// use ziggurat_middleware::{Body, request};
///
/// let parts = ["header:x-api-key".parse::<KeyPart>().unwrap()];
/// let seed = RandomState::new();
/// let key = |value: &'static str| {
///     let mut request = request(http::Method::GET, "/", Body::empty());
///     request.headers_mut().insert("x-api-key", http::HeaderValue::from_static(value));
///     seed.hash_one(RequestKey::new(&parts, &request))
/// };
/// assert_eq!(key("a"), key("a"));
/// assert_ne!(key("a"), key("b"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RequestKey<'a> {
    parts: &'a [KeyPart],
    request: &'a Request,
}

impl<'a> RequestKey<'a> {
    /// The key of this request. Without parts, all requests have the same one.
    #[must_use]
    pub const fn new(parts: &'a [KeyPart], request: &'a Request) -> Self {
        Self { parts, request }
    }

    fn client(&self) -> ClientShare {
        self.request.extensions().get::<ConnectionInfo>().and_then(|connection| connection.client).into()
    }

    /// The octets that tell it from other keys, piece by piece. They are the same on all machines.
    pub(crate) fn octets(&self, mut sink: impl FnMut(&[u8])) {
        let headers = self.request.headers();
        // The first octet of a part says what follows, so that a user is not taken for a client, and the length, where it ends.
        let mut write = |kind: u8, text: &[u8]| {
            sink(&[kind]);
            sink(&(text.len() as u64).to_le_bytes());
            sink(text);
        };
        for part in self.parts {
            let is_written = match part {
                KeyPart::Path => {
                    write(1, DecodedPath::new(self.request.uri().path()).octets());
                    true
                }
                KeyPart::User => self.request.extensions().get::<RemoteUser>().map(|user| write(2, user.user.as_bytes())).is_some(),
                KeyPart::Header(name) if headers.get(name).is_some_and(|first| !first.is_empty()) => {
                    headers.get_all(name).iter().for_each(|value| write(3, value.as_bytes()));
                    true
                }
                KeyPart::Cookie(name) => {
                    let value = cookies::first(headers, name).filter(|value| !value.is_empty());
                    value.map(|value| write(4, value)).is_some()
                }
                KeyPart::Header(_) | KeyPart::Client => false,
            };
            if !is_written {
                self.client().octets(|octets| write(0, octets));
            }
        }
    }
}

impl Hash for RequestKey<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.octets(|octets| hasher.write(octets));
    }
}

/// What requests are counted by, as a part of a sentence: "client and path".
#[must_use]
pub fn in_words(parts: &[KeyPart]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|part| match part {
            KeyPart::Header(name) => format!("header `{name}`"),
            KeyPart::Cookie(name) => format!("cookie `{name}`"),
            part => part.to_string(),
        })
        .collect();
    parts.join(" and ")
}

impl FromStr for KeyPart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str = "hint: write `client`, `user`, `path`, `header:NAME` or `cookie:NAME`";
        match text.split_once(':') {
            None if text == "client" => Ok(Self::Client),
            None if text == "user" => Ok(Self::User),
            None if text == "path" => Ok(Self::Path),
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| format!("`{name}` is not the name of a header\n{HINT}")),
            Some(("cookie", name)) if is_token(name) => Ok(Self::Cookie(name.to_owned())),
            Some(("cookie", name)) => Err(format!("`{name}` is not the name of a cookie\n{HINT}")),
            _ => Err(format!("`{}` is nothing that requests are counted by\n{HINT}", text.escape_debug())),
        }
    }
}

/// Whether this can be the name of a cookie (RFC 6265 section 4.1.1): a token.
fn is_token(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}

impl TryFrom<String> for KeyPart {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<KeyPart> for String {
    fn from(part: KeyPart) -> Self {
        part.to_string()
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::User => f.write_str("user"),
            Self::Path => f.write_str("path"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl JsonSchema for KeyPart {
    fn schema_name() -> Cow<'static, str> {
        "KeyPart".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`client`, `user`, `path`, `header:NAME` or `cookie:NAME`.",
            "pattern": r"^(client|user|path|(header|cookie):.+|.*\$.*)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use http::{HeaderValue, Method};
    use proptest::prelude::*;

    use super::*;
    use crate::{Body, request};

    fn parts(parts: &[&str]) -> Vec<KeyPart> {
        parts.iter().map(|part| part.parse().unwrap()).collect()
    }

    fn from(client: &str, target: &str, headers: &[(&'static str, &str)]) -> Request {
        let mut request = request(Method::GET, target, Body::empty());
        request.extensions_mut().get_mut::<ConnectionInfo>().unwrap().client = client.parse().ok();
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request
    }

    fn are_one(by: &[&str], one: &Request, other: &Request) -> bool {
        let (seed, parts) = (RandomState::new(), parts(by));
        seed.hash_one(RequestKey::new(&parts, one)) == seed.hash_one(RequestKey::new(&parts, other))
    }

    #[test]
    fn clients_users_paths_headers_and_cookies_tell_requests_apart() {
        let (one, other) = (
            from("192.0.2.1", "/a", &[("x-key", "1"), ("cookie", "sid=1; b=c")]),
            from("192.0.2.2", "/b", &[("x-key", "2"), ("cookie", "sid=2; b=c")]),
        );
        for by in ["client", "path", "header:x-key", "cookie:sid"] {
            assert!(!are_one(&[by], &one, &other), "{by}");
        }
        assert!(are_one(&["cookie:b"], &one, &other) && are_one(&[], &one, &other));
        assert!(!are_one(&["cookie:b", "client"], &one, &other));
        assert!(are_one(&["path"], &from("192.0.2.1", "/a%62?x=1", &[]), &from("192.0.2.1", "/ab", &[])));
    }

    #[test]
    fn a_request_without_the_key_is_counted_for_its_client() {
        let with = |headers: &[(&'static str, &str)]| from("192.0.2.1", "/", headers);
        for by in ["user", "header:x-key", "cookie:sid"] {
            assert!(are_one(&[by], &with(&[]), &with(&[("x-key", ""), ("cookie", "sid=; a=b")])), "{by}");
            assert!(!are_one(&[by], &with(&[]), &from("192.0.2.2", "/", &[])), "{by}");
            assert!(are_one(&[by], &from("2001:db8::1", "/", &[]), &from("2001:db8::2", "/", &[])), "{by}");
        }
        assert!(!are_one(&["header:x-key"], &with(&[("x-key", "a")]), &with(&[])));
    }

    #[test]
    fn a_cookie_counts_beside_others_that_are_no_ascii() {
        let [one, other] = ["theme=ä; sid=1", "theme=ö; sid=1"].map(|line| from("192.0.2.1", "/", &[("cookie", line)]));
        assert!(are_one(&["cookie:sid"], &one, &other) && !are_one(&["cookie:theme"], &one, &other));
        assert!(!are_one(&["cookie:sid"], &one, &from("192.0.2.1", "/", &[])));
    }

    #[test]
    fn a_user_and_a_header_of_the_same_text_are_not_the_same() {
        let mut user = from("192.0.2.1", "/", &[]);
        user.extensions_mut().insert(RemoteUser { user: "ann".into(), auth_type: "Basic".into() });
        let mut other = from("192.0.2.9", "/other", &[]);
        other.extensions_mut().insert(RemoteUser { user: "ann".into(), auth_type: "Basic".into() });
        assert!(are_one(&["user"], &user, &other));
        let seed = RandomState::new();
        let header = from("192.0.2.1", "/", &[("x-user", "ann")]);
        assert_ne!(
            seed.hash_one(RequestKey::new(&parts(&["user"]), &user)),
            seed.hash_one(RequestKey::new(&parts(&["header:x-user"]), &header))
        );
    }

    #[test]
    fn parts_are_read_and_printed_and_others_are_refused() {
        for text in ["client", "user", "path", "header:x-api-key", "cookie:sid"] {
            assert_eq!(text.parse::<KeyPart>().unwrap().to_string(), text);
        }
        for text in ["", "ip", "header", "header:", "header:a b", "cookie:", "cookie:a=b", "client:1"] {
            assert!(text.parse::<KeyPart>().unwrap_err().contains("write `client`"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,20}") {
            if let Ok(part) = text.parse::<KeyPart>() {
                prop_assert_eq!(part.to_string().to_lowercase(), text.to_lowercase());
            }
        }
    }
}
