//! Where a token is in a request: a key, or a signed token.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::header::{AUTHORIZATION, COOKIE, HeaderName};
use http::uri::PathAndQuery;
use percent_encoding::percent_decode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{Effect, Effects, Mount, OriginalUri, Request, cookies};

/// A place where clients may send a token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum TokenSource {
    /// `Authorization: Bearer` (RFC 6750 section 2.1).
    Bearer,
    Header(HeaderName),
    Cookie(String),
    Query(String),
}

/// The tokens of a request.
pub(crate) enum Sent<'a> {
    None,
    One(&'a TokenSource, Cow<'a, [u8]>),
    /// More than one: whoever checks one and passes on another is deceived.
    Several,
}

impl TokenSource {
    /// What a request has in these places.
    pub(crate) fn sent<'a>(sources: &'a [Self], request: &'a Request) -> Sent<'a> {
        let mut sent = Sent::None;
        for source in sources {
            source.each(request, &mut |token| {
                sent = match sent {
                    Sent::None => Sent::One(source, token),
                    _ => Sent::Several,
                };
            });
        }
        sent
    }

    /// Calls `found` with each token here.
    fn each<'a>(&self, request: &'a Request, found: &mut dyn FnMut(Cow<'a, [u8]>)) {
        let headers = request.headers();
        match self {
            Self::Bearer => {
                headers.get_all(AUTHORIZATION).iter().filter_map(|line| bearer(line.as_bytes())).for_each(|token| found(token.into()))
            }
            Self::Header(name) => headers.get_all(name).iter().for_each(|value| found(value.as_bytes().into())),
            Self::Cookie(name) => cookies::named(headers, name).for_each(|value| found(value.into())),
            Self::Query(name) => {
                let pairs = request.uri().query().into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.split_once('='));
                pairs.filter(|(key, _)| is_name(key, name)).for_each(|(_, value)| found(percent_decode(value.as_bytes()).into()));
            }
        }
    }

    /// Removes what a request has here, for the layers below and the app.
    pub(crate) fn remove(&self, request: &mut Request) {
        match self {
            Self::Bearer => {
                if request.headers().get_all(AUTHORIZATION).iter().any(|line| bearer(line.as_bytes()).is_some()) {
                    request.headers_mut().remove(AUTHORIZATION);
                }
            }
            Self::Header(name) => {
                request.headers_mut().remove(name);
            }
            Self::Cookie(name) => cookies::remove(request.headers_mut(), |known| known == name),
            Self::Query(name) => {
                if let Some(uri) = without(request.uri(), name) {
                    *request.uri_mut() = uri;
                }
                // Apps read them as REQUEST_URI.
                if let Some(original) = request.extensions_mut().get_mut::<OriginalUri>()
                    && let Some(uri) = without(&original.0, name)
                {
                    original.0 = uri;
                }
                if let Some(mount) = request.extensions_mut().get_mut::<Mount>()
                    && let Some(uri) = without(&mount.target, name)
                {
                    mount.target = uri;
                }
            }
        }
    }

    /// The scheme of authentication: `AUTH_TYPE`, and that of the challenge.
    pub(crate) const fn scheme(&self, other: &'static str) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            _ => other,
        }
    }

    /// What a layer does that reads it, and removes it for those below.
    pub(crate) fn effects(&self, option: &'static str, removes: bool, effects: &mut Effects) {
        let name = match self {
            Self::Bearer => AUTHORIZATION,
            Self::Header(name) => name.clone(),
            Self::Cookie(_) => COOKIE,
            Self::Query(_) => return,
        };
        effects.by(option, Effect::ReadsRequestHeader(name.clone()));
        if removes && name != COOKIE {
            effects.by(option, Effect::RemovesRequestHeader(name));
        }
    }
}

/// The token of a line `Bearer TOKEN`.
fn bearer(line: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = line.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether a key of a query is this one, however it is encoded.
fn is_name(key: &str, name: &str) -> bool {
    percent_decode(key.as_bytes()).eq(name.bytes())
}

/// The URI without this parameter, where it has it.
fn without(uri: &Uri, name: &str) -> Option<Uri> {
    let query = uri.query()?;
    let is_kept = |pair: &&str| !is_name(pair.split('=').next().unwrap_or_default(), name);
    if query.split('&').all(|pair| is_kept(&pair)) {
        return None;
    }
    let kept = query.split('&').filter(is_kept).collect::<Vec<_>>().join("&");
    let target = if kept.is_empty() { uri.path().to_owned() } else { format!("{}?{kept}", uri.path()) };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

impl FromStr for TokenSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str = "hint: write `bearer`, `header:NAME`, `cookie:NAME` or `query:NAME`";
        match text.split_once(':') {
            None if text == "bearer" => Ok(Self::Bearer),
            Some(("header", name)) => match name.parse() {
                Ok(AUTHORIZATION) => Err(format!("a token in `Authorization` has a scheme\n{HINT}")),
                Ok(name) => Ok(Self::Header(name)),
                Err(_) => Err(format!("`{name}` is not the name of a header\n{HINT}")),
            },
            Some(("cookie", name)) if HeaderName::from_bytes(name.as_bytes()).is_ok() => Ok(Self::Cookie(name.to_owned())),
            Some(("cookie", name)) => Err(format!("`{name}` is not the name of a cookie\n{HINT}")),
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            _ => Err(format!("`{}` is no place of a token\n{HINT}", text.escape_debug())),
        }
    }
}

impl TryFrom<String> for TokenSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TokenSource> for String {
    fn from(source: TokenSource) -> Self {
        source.to_string()
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("bearer"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

impl JsonSchema for TokenSource {
    fn schema_name() -> Cow<'static, str> {
        "TokenSource".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`bearer`, `header:NAME`, `cookie:NAME` or `query:NAME`.",
            "pattern": r"^(bearer|(header|cookie|query):.+|.*\$.*)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::{Body, request};

    fn sources(texts: &[&str]) -> Vec<TokenSource> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ask(target: &str, headers: &[(&'static str, &str)]) -> Request {
        let mut request = request(Method::GET, target, Body::empty());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    fn found(from: &[&str], request: &Request) -> Option<Result<String, ()>> {
        match TokenSource::sent(&sources(from), request) {
            Sent::None => None,
            Sent::One(_, token) => Some(Ok(String::from_utf8_lossy(&token).into_owned())),
            Sent::Several => Some(Err(())),
        }
    }

    #[test]
    fn a_token_is_found_in_each_place_that_is_named_and_in_no_other() {
        let request = ask("/?k=qu%2Bery", &[("authorization", "bEARER  b "), ("x-key", "h"), ("cookie", "a=1; c=cook; d=2")]);
        for (from, expected) in [("bearer", "b"), ("header:x-key", "h"), ("cookie:c", "cook"), ("query:k", "qu+ery")] {
            assert_eq!(found(&[from], &request), Some(Ok(expected.to_owned())), "{from}");
        }
        for from in ["header:x-other", "cookie:e", "query:kk"] {
            assert_eq!(found(&[from], &request), None, "{from}");
        }
        assert_eq!(found(&["bearer"], &ask("/", &[("authorization", "Basic b")])), None);
        assert_eq!(found(&["bearer"], &ask("/", &[("authorization", "Bearer")])), None);
    }

    #[test]
    fn two_tokens_are_never_one() {
        assert_eq!(found(&["bearer", "header:x-key"], &ask("/", &[("authorization", "Bearer b"), ("x-key", "b")])), Some(Err(())));
        assert_eq!(found(&["header:x-key"], &ask("/", &[("x-key", "b"), ("x-key", "b")])), Some(Err(())));
        assert_eq!(found(&["query:k"], &ask("/?k=a&%6b=a", &[])), Some(Err(())));
        assert_eq!(found(&["cookie:k"], &ask("/", &[("cookie", "k=a; k=a")])), Some(Err(())));
    }

    #[test]
    fn what_is_removed_is_gone_from_every_form_of_the_target() {
        let mut request = ask("/a?x=1&%6b=s&y=2&k", &[("authorization", "Bearer s"), ("x-key", "s"), ("cookie", "a=1; c=s; d=2")]);
        request.extensions_mut().insert(OriginalUri("/b?k=s".parse().unwrap()));
        request.extensions_mut().insert(Mount { prefix: "/m".into(), target: "/m/a?k=s&x=1".parse().unwrap() });
        for source in sources(&["bearer", "header:x-key", "cookie:c", "query:k"]) {
            source.remove(&mut request);
        }
        assert_eq!(request.uri(), "/a?x=1&y=2");
        assert_eq!(request.extensions().get::<OriginalUri>().unwrap().0, "/b");
        assert_eq!(request.extensions().get::<Mount>().unwrap().target, "/m/a?x=1");
        assert_eq!(request.headers()["cookie"], "a=1; d=2");
        assert!(!request.headers().contains_key("authorization") && !request.headers().contains_key("x-key"));
        let mut other = ask("/", &[("authorization", "Basic b")]);
        TokenSource::Bearer.remove(&mut other);
        assert!(other.headers().contains_key("authorization"));
    }

    #[test]
    fn places_are_read_and_printed_and_others_are_refused() {
        for text in ["bearer", "header:x-key", "cookie:c", "query:api key"] {
            assert_eq!(text.parse::<TokenSource>().unwrap().to_string(), text);
        }
        for text in ["", "Bearer", "header", "header:", "header:a b", "header:authorization", "cookie:", "cookie:a=b", "query:", "body:x"] {
            assert!(text.parse::<TokenSource>().unwrap_err().contains("write `bearer`"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_is_read_and_removed(
            line in prop::collection::vec(any::<u8>(), 0..40),
            query in "[a-z%0-9=&k+]{0,30}",
        ) {
            let mut request = ask(&format!("/?{query}"), &[]);
            for name in ["authorization", "x-key", "cookie"] {
                if let Ok(value) = http::HeaderValue::from_bytes(&line) {
                    request.headers_mut().append(name, value);
                }
            }
            let sources = sources(&["bearer", "header:x-key", "cookie:c", "query:k"]);
            for source in &sources {
                source.remove(&mut request);
            }
            prop_assert!(matches!(TokenSource::sent(&sources, &request), Sent::None));
        }
    }
}
