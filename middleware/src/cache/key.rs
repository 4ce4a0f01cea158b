//! What names a response in the cache: its URL, and the request headers that its `Vary` lists.

use std::borrow::Cow;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST, HeaderName, VARY};
use http::{HeaderMap, Uri};

use super::control::members;
use crate::encoding::{Accepted, Encoding};
use crate::{ConnectionInfo, Mount, Request, Scheme};

/// The URL of a request as its client knows it: scheme, host, prefix of the mount, path and query. Query parameters that are not to count are left out.
pub(super) fn url(request: &Request, ignored: &IgnoredParameters) -> String {
    let uri = request.uri();
    let mount = request.extensions().get::<Mount>().map_or("", |mount| &mount.prefix);
    let query = uri.query().map(|query| ignored.remove(query)).filter(|query| !query.is_empty());
    let (scheme, authority) = origin(request);
    let query = query.as_deref().unwrap_or_default();
    let mut url = String::with_capacity(scheme.len() + authority.len() + mount.len() + uri.path().len() + query.len() + 4);
    url.push_str(scheme);
    url.push_str("://");
    url.extend(authority.chars().map(|letter| letter.to_ascii_lowercase()));
    url.push_str(mount);
    url.push_str(uri.path());
    if !query.is_empty() {
        url.push('?');
        url.push_str(query);
    }
    url
}

/// The scheme and the authority, without the default port.
fn origin(request: &Request) -> (&'static str, &str) {
    let scheme = request.extensions().get::<ConnectionInfo>().map_or(Scheme::Http, |connection| connection.scheme);
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    (scheme.as_str(), without_default_port(scheme, host))
}

fn without_default_port(scheme: Scheme, host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.is_empty() || port.parse() == Ok(scheme.default_port()) => name,
        _ => host,
    }
}

/// The URL that a `Location` or `Content-Location` of a response means, if it is of the same origin as the request's.
pub(super) fn same_origin(request_url: &str, location: &str) -> Option<String> {
    let (scheme, rest) = request_url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/')?);
    let location = location.split('#').next().unwrap_or_default();
    if let Some(rest) = location.strip_prefix("//") {
        return same_origin(request_url, &format!("{scheme}://{rest}"));
    }
    if let Some((other, _)) = location.split_once("://")
        && !other.contains('/')
    {
        let uri: Uri = location.parse().ok()?;
        let known = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        let is_same = uri.scheme_str() == Some(scheme)
            && uri.authority().is_some_and(|other| without_default_port(known, other.as_str()).eq_ignore_ascii_case(authority));
        return is_same.then(|| format!("{scheme}://{authority}{}", uri.path_and_query().map_or("/", |path| path.as_str())));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    // A path that is relative to the folder of the request. Others, such as `../x` and `?page=2`, name nothing for certain.
    let folder = path.split('?').next().unwrap_or_default();
    let folder = &folder[..=folder.rfind('/')?];
    let is_plain = !location.is_empty() && !location.starts_with(['?', '.']) && !location.contains("/.") && !location.contains(':');
    is_plain.then(|| format!("{scheme}://{authority}{folder}{location}"))
}

/// Names of query parameters that do not change the response. A name may end in a star.
#[derive(Clone, Debug, Default)]
pub(super) struct IgnoredParameters(pub(super) Vec<String>);

impl IgnoredParameters {
    fn remove<'q>(&self, query: &'q str) -> Cow<'q, str> {
        if self.0.is_empty() {
            return Cow::Borrowed(query);
        }
        let kept: Vec<&str> = query.split('&').filter(|parameter| !self.names(parameter)).collect();
        Cow::Owned(kept.join("&"))
    }

    fn names(&self, parameter: &str) -> bool {
        // Some apps end a parameter at `;`, too: what follows could change the response.
        if parameter.contains(';') {
            return false;
        }
        let name = parameter.split('=').next().unwrap_or_default();
        self.0.iter().any(|ignored| match ignored.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == ignored,
        })
    }
}

/// The values of the request headers that select a response (RFC 9111 section 4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection(Box<[(HeaderName, Selected)]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Selected {
    /// Of `Accept-Encoding`: how a client writes its preferences does not matter.
    Encodings(Accepted),
    /// The lines of any other header as one list.
    Value(Option<Vec<u8>>),
}

impl Selection {
    /// Of a response with these headers to a request with those; `None` if the response fits no other request (`Vary: *`).
    pub(super) fn of(response: &HeaderMap, request: &HeaderMap) -> Option<Self> {
        // Only of these encodings is it known which clients accept them.
        let is_known = response
            .get_all(CONTENT_ENCODING)
            .iter()
            .all(|value| Encoding::ALL.iter().any(|encoding| value.as_bytes().eq_ignore_ascii_case(encoding.token().as_bytes())));
        let mut names = Vec::new();
        for member in response.get_all(VARY).iter().flat_map(|line| members(line.as_bytes())) {
            // `*` is a valid name of a header.
            let name = HeaderName::from_bytes(member).ok().filter(|name| name != "*")?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Some(Self(names.into_iter().map(|name| Self::selected(name, request, is_known)).collect()))
    }

    /// The values that the same headers have in another request.
    pub(super) fn of_same_headers(&self, request: &HeaderMap) -> Self {
        let selected =
            |(name, selected): &(HeaderName, Selected)| Self::selected(name.clone(), request, matches!(selected, Selected::Encodings(_)));
        Self(self.0.iter().map(selected).collect())
    }

    fn selected(name: HeaderName, request: &HeaderMap, by_encodings: bool) -> (HeaderName, Selected) {
        let selected = match name == ACCEPT_ENCODING && by_encodings {
            true => Selected::Encodings(Accepted::of(request)),
            false => Selected::Value(value(request, &name)),
        };
        (name, selected)
    }

    /// Whether the response fits a request with these headers.
    pub(super) fn fits(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|(name, selected)| match selected {
            Selected::Encodings(accepted) => *accepted == Accepted::of(request),
            Selected::Value(known) => *known == value(request, name),
        })
    }

    /// The octets that it takes.
    pub(super) fn octets(&self) -> usize {
        let octets = |(name, selected): &(HeaderName, Selected)| {
            name.as_str().len()
                + size_of::<(HeaderName, Selected)>()
                + if let Selected::Value(Some(value)) = selected { value.len() } else { 0 }
        };
        self.0.iter().map(octets).sum()
    }
}

/// All lines of a header as one, without space around the lines.
fn value(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|line| line.as_bytes().trim_ascii()).collect();
    (!lines.is_empty()).then(|| lines.join(&b','))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::{Body, request};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap())).collect()
    }

    fn url_of(target: &str, host: &'static str, ignored: &[&str]) -> String {
        let mut request = request(http::Method::GET, target, Body::empty());
        request.headers_mut().insert(HOST, HeaderValue::from_static(host));
        url(&request, &IgnoredParameters(ignored.iter().map(|&name| name.to_owned()).collect()))
    }

    #[test]
    fn a_url_has_its_host_in_lower_case_and_no_default_port() {
        assert_eq!(url_of("/a?b", "Example.ORG:80", &[]), "http://example.org/a?b");
        assert_eq!(url_of("/a?", "example.org:8080", &[]), "http://example.org:8080/a");
        assert_eq!(url_of("/", "[::1]", &[]), "http://[::1]/");
        assert_eq!(url_of("/", "[::1]:80", &[]), "http://[::1]/");
    }

    #[test]
    fn parameters_that_do_not_count_are_left_out() {
        let ignored = &["fbclid", "utm_*"];
        assert_eq!(url_of("/a?utm_source=x&page=2&fbclid=y&fbclid", "a", ignored), "http://a/a?page=2");
        assert_eq!(url_of("/a?utm_source=x", "a", ignored), "http://a/a");
        assert_eq!(url_of("/a?fbclids=1", "a", ignored), "http://a/a?fbclids=1");
        assert_eq!(url_of("/a?utm_source=x;page=2", "a", ignored), "http://a/a?utm_source=x;page=2");
    }

    #[test]
    fn a_location_counts_if_it_is_of_the_same_origin() {
        let cases = [
            ("/b?c", Some("https://a.org/b?c")),
            ("b", Some("https://a.org/x/b")),
            ("https://a.org/b", Some("https://a.org/b")),
            ("https://A.org:443/b#top", Some("https://a.org/b")),
            ("https://a.org", Some("https://a.org/")),
            ("//a.org/b", Some("https://a.org/b")),
            ("http://a.org/b", None),
            ("https://a.org:8443/b", None),
            ("https://b.org/b", None),
            ("//b.org/b", None),
            ("../b", None),
            ("b/../c", None),
            ("?page=2", None),
            ("mailto:a@b.org", None),
            ("", None),
        ];
        for (location, expected) in cases {
            assert_eq!(same_origin("https://a.org/x/y?z", location).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn all_lines_of_vary_select_and_a_star_fits_nobody() {
        let request = headers(&[("accept-language", "de"), ("cookie", "a=1"), ("cookie", "b=2")]);
        let mut response = HeaderMap::new();
        response.append(VARY, HeaderValue::from_static("Accept-Language"));
        response.append(VARY, HeaderValue::from_static("cookie, COOKIE"));
        let selection = Selection::of(&response, &request).unwrap();
        assert_eq!(selection.0.len(), 2);
        assert!(selection.fits(&request) && selection.fits(&headers(&[("accept-language", " de "), ("cookie", "a=1,b=2")])));
        assert!(!selection.fits(&headers(&[("accept-language", "de"), ("cookie", "a=1")])));
        assert!(!selection.fits(&HeaderMap::new()));
        for star in ["*", "cookie, *", "a b"] {
            assert_eq!(Selection::of(&headers(&[("vary", star)]), &request), None, "{star}");
        }
    }

    #[test]
    fn encodings_select_by_what_the_client_accepts_where_that_is_known() {
        let chrome = headers(&[("accept-encoding", "gzip, deflate, br, zstd")]);
        let other = headers(&[("accept-encoding", "zstd, br,gzip;q=1.0")]);
        let fits = |encoding: &str| {
            Selection::of(&headers(&[("vary", "accept-encoding"), ("content-encoding", encoding)]), &chrome).unwrap().fits(&other)
        };
        assert!(fits("gzip") && fits("zstd") && !fits("deflate") && !fits("gzip, br"));
        let plain = Selection::of(&headers(&[("vary", "accept-encoding")]), &chrome).unwrap();
        assert!(plain.fits(&other) && !plain.fits(&headers(&[("accept-encoding", "gzip")])) && !plain.fits(&HeaderMap::new()));
        assert_eq!(plain.of_same_headers(&other), plain);
    }

    proptest! {
        #[test]
        fn any_location_is_read_without_a_panic(location in "[ -~]{0,40}") {
            if let Some(url) = same_origin("https://a.org/x/y?z", &location) {
                prop_assert!(url.starts_with("https://a.org/"));
            }
        }

        #[test]
        fn a_request_fits_what_it_selected(vary in "[a-c, *]{0,12}", value in "[ -~]{0,20}") {
            let request = headers(&[("a", &value)]);
            if let Some(selection) = Selection::of(&headers(&[("vary", &vary)]), &request) {
                prop_assert!(selection.fits(&request));
            }
        }
    }
}
