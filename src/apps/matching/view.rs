//! A request as conditions see it.

use std::cell::OnceCell;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use ziggurat_middleware::forwarded::is_claim;
use ziggurat_middleware::path::{DecodedPath, PathParams};
use ziggurat_middleware::{ConnectionInfo, Mount, Request, Scheme, TlsInfo, cookies};

use super::{HostOf, host_of};

/// A request as conditions see it. What takes time is computed once, when it is first needed.
pub(crate) struct RequestView<'a> {
    pub(super) request: &'a Request,
    host: OnceCell<Option<HostOf<'a>>>,
    path: OnceCell<DecodedPath<'a>>,
}

/// The value of a parameter, as it was sent.
#[derive(Clone, Copy)]
pub(super) struct Encoded<'a>(&'a str);

impl<'a> RequestView<'a> {
    pub(crate) const fn new(request: &'a Request) -> Self {
        Self { request, host: OnceCell::new(), path: OnceCell::new() }
    }

    pub(crate) fn uri(&self) -> &Uri {
        self.request.uri()
    }

    /// The mount that an outer route made.
    pub(crate) fn mount(&self) -> Option<&Mount> {
        self.request.extensions().get()
    }

    /// What outer routes took out of the path.
    pub(crate) fn params(&self) -> Option<&PathParams> {
        self.request.extensions().get()
    }

    pub(crate) fn path(&self) -> &DecodedPath<'a> {
        self.path.get_or_init(|| DecodedPath::new(self.request.uri().path()))
    }

    pub(super) fn host(&self) -> Option<HostOf<'a>> {
        *self.host.get_or_init(|| host_of(self.request).map(HostOf::new))
    }

    pub(super) fn method(&self) -> &http::Method {
        self.request.method()
    }

    pub(super) fn scheme(&self) -> Option<Scheme> {
        self.connection().map(|connection| connection.scheme)
    }

    pub(super) fn client(&self) -> Option<IpAddr> {
        self.connection()?.client
    }

    /// The subject of the client's certificate.
    pub(super) fn client_subject(&self) -> Option<&str> {
        let tls = self.request.extensions().get::<TlsInfo>()?;
        tls.client.as_ref().map(|client| client.subject.as_str())
    }

    fn connection(&self) -> Option<&ConnectionInfo> {
        self.request.extensions().get()
    }

    /// The values of a header, as apps see it: the claims of proxies are there only if a `forwarded` layer has judged them.
    pub(super) fn headers(&self, name: &str) -> impl Iterator<Item = &'a HeaderValue> {
        let name = HeaderName::try_from(name).ok();
        let is_vetted = self.connection().is_some_and(|connection| connection.is_vetted);
        let seen = name.filter(|name| is_vetted || !is_claim(name));
        seen.into_iter().flat_map(|name| self.request.headers().get_all(name))
    }

    /// The values of the cookies with this name, in all `Cookie` headers (RFC 6265 section 4.2, RFC 9113 section 8.2.3).
    pub(super) fn cookies(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        cookies::named(self.request.headers(), name)
    }

    /// The values of the parameters with this name in the query.
    pub(super) fn parameters(&self, name: &str) -> impl Iterator<Item = Encoded<'a>> {
        let pairs = self.request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(move |(key, _)| Encoded(key).is(name))
            .map(|(_, value)| Encoded(value))
    }
}

impl Encoded<'_> {
    /// Whether it is this text, decoded: `+` stands for a space (WHATWG URL, `application/x-www-form-urlencoded`).
    pub(super) fn is(self, text: &str) -> bool {
        let words = self.0.split('+').enumerate();
        words.flat_map(|(nth, word)| (nth > 0).then_some(b' ').into_iter().chain(percent_decode_str(word))).eq(text.bytes())
    }
}

#[cfg(test)]
mod tests {
    use ziggurat_middleware::{Body, request};

    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let request = request(http::Method::GET, "/?a=1&&b+c=%26+x&d&a=2%2B&+=", Body::empty());
        let view = RequestView::new(&request);
        for (name, values) in [("a", &["1", "2+"][..]), ("b c", &["& x"]), ("d", &[""]), (" ", &[""]), ("", &[]), ("c", &[])] {
            let given: Vec<_> = view.parameters(name).collect();
            assert!(given.len() == values.len() && given.iter().zip(values).all(|(given, value)| given.is(value)), "{name}");
        }
    }

    #[test]
    fn claims_of_proxies_are_not_there_before_a_layer_has_judged_them() {
        let mut request = request(http::Method::GET, "/", Body::empty());
        for name in ["x-real-ip", "x-forwarded-for", "x-forwarded-anything", "forwarded", "x-other"] {
            request.headers_mut().append(name, HeaderValue::from_static("10.0.0.1"));
        }
        let seen = |request: &Request| {
            let view = RequestView::new(request);
            let names = ["X-Real-IP", "x-forwarded-for", "X-Forwarded-Anything", "Forwarded", "X-Other"];
            names.map(|name| view.headers(name).count())
        };
        assert_eq!(seen(&request), [0, 0, 0, 0, 1]);
        request.extensions_mut().get_mut::<ConnectionInfo>().unwrap().is_vetted = true;
        assert_eq!(seen(&request), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn cookies_of_all_headers_are_read() {
        let mut request = request(http::Method::GET, "/", Body::empty());
        for value in ["a=1; b=\"2\";c=; d", "a=3=4 ;A=5"] {
            request.headers_mut().append("cookie", HeaderValue::from_static(value));
        }
        let view = RequestView::new(&request);
        for (name, values) in [("a", &["1", "3=4"][..]), ("b", &["\"2\""]), ("c", &[""]), ("d", &[]), ("A", &["5"])] {
            assert_eq!(view.cookies(name).map(|value| std::str::from_utf8(value).unwrap()).collect::<Vec<_>>(), values, "{name}");
        }
    }
}
