//! A request as conditions see it.

use std::cell::OnceCell;
use std::net::IpAddr;

use http::{HeaderValue, Uri, header};
use percent_encoding::percent_decode_str;
use ziggurat_middleware::path::{DecodedPath, PathParams};
use ziggurat_middleware::{ConnectionInfo, Mount, Request, Scheme};

use super::{HostOf, host_of};

/// A request as conditions see it. What takes time is computed once, when it is first needed.
pub(crate) struct RequestView<'a> {
    request: &'a Request,
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

    fn connection(&self) -> Option<&ConnectionInfo> {
        self.request.extensions().get()
    }

    pub(super) fn headers(&self, name: &str) -> impl Iterator<Item = &'a HeaderValue> {
        self.request.headers().get_all(name).iter()
    }

    /// The values of the cookies with this name, in all `Cookie` headers (RFC 6265 section 4.2, RFC 9113 section 8.2.3).
    pub(super) fn cookies(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let pairs = self.request.headers().get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|octet| *octet == b';'));
        pairs.filter_map(move |pair| {
            let pair = pair.trim_ascii();
            let equals = memchr::memchr(b'=', pair)?;
            (pair[..equals] == *name.as_bytes()).then(|| &pair[equals + 1..])
        })
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
