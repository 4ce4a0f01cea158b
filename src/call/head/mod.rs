//! A request's head as CGI variables in one owned buffer, made without the interpreter.
//!
//! The buffer is what a worker receives, as it is: a list of variables with their values. A variable is its [`Variable`] number in one octet, or 0, the
//! length of its name and the name; then come the length of the value and the value. Lengths are 32 bits, little endian. Variables that have their
//! usual value are left out.

mod view;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, UPGRADE};
use http::request::Parts;
use http_body::Body as _;
use ziggurat_middleware::Body;

pub(crate) use view::{HeadSummary, HeadView, Key};

use crate::cgi::{self, Variable, VariableSink};

/// In place of a number: the name follows.
const NAMED: u8 = 0;

/// The value of a variable that the buffer leaves out.
pub(crate) const fn usual(variable: Variable) -> Option<&'static str> {
    match variable {
        Variable::RequestMethod => Some("GET"),
        Variable::ScriptName | Variable::QueryString => Some(""),
        Variable::ServerProtocol => Some("HTTP/1.1"),
        Variable::UrlScheme => Some("http"),
        _ => None,
    }
}

/// A request's head: CGI variables in one buffer.
#[derive(Clone)]
pub(crate) struct Head(Bytes);

impl Head {
    /// The head of a request whose body has this length, as far as that is known.
    pub(crate) fn new(parts: &Parts, content_length: Option<u64>) -> Self {
        let mut buffer = Buffer(Vec::with_capacity(512 + 48 * parts.headers.len()));
        cgi::from_request(parts, content_length, &mut buffer);
        Self(buffer.0.into())
    }

    /// The head of a request for a WebSocket. Libraries check `HTTP_CONNECTION` and `HTTP_UPGRADE`, which no other request has.
    pub(crate) fn of_websocket(parts: &Parts) -> Self {
        let mut buffer = Buffer(Vec::with_capacity(512 + 48 * parts.headers.len()));
        cgi::from_request(parts, None, &mut buffer);
        buffer.set_header(&CONNECTION, b"Upgrade");
        buffer.set_header(&UPGRADE, b"websocket");
        Self(buffer.0.into())
    }

    /// The head of a request with this body.
    pub(crate) fn with_body(parts: &Parts, body: &Body) -> Self {
        let exact = body.size_hint().exact().filter(|length| *length > 0);
        Self::new(parts, exact.or_else(|| cgi::content_length(&parts.headers)))
    }

    /// A head that came from another process.
    pub(crate) const fn framed(buffer: Bytes) -> Self {
        Self(buffer)
    }

    /// The buffer, for another process.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, shared.
    pub(crate) fn octets(&self) -> Bytes {
        self.0.clone()
    }

    /// Its variables.
    pub(crate) fn view(&self) -> HeadView<'_> {
        HeadView::of(&self.0)
    }
}

/// A head while it is written.
struct Buffer(Vec<u8>);

impl VariableSink for Buffer {
    fn set(&mut self, variable: Variable, value: &[u8]) {
        if usual(variable).is_none_or(|usual| usual.as_bytes() != value) {
            self.0.push(variable as u8);
            self.value(value);
        }
    }

    fn set_header(&mut self, name: &HeaderName, value: &[u8]) {
        self.0.push(NAMED);
        let at = self.0.len();
        self.length(0);
        cgi::push_header_variable(name, &mut self.0);
        let length = self.0.len() - at - 4;
        self.0[at..at + 4].copy_from_slice(&to_u32(length).to_le_bytes());
        self.value(value);
    }
}

impl Buffer {
    fn value(&mut self, value: &[u8]) {
        self.length(value.len());
        self.0.extend_from_slice(value);
    }

    fn length(&mut self, length: usize) {
        self.0.extend_from_slice(&to_u32(length).to_le_bytes());
    }
}

/// The server bounds heads far below 4 GiB.
fn to_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;
    use crate::cgi::{Invalid, VariableSource};

    impl VariableSource for HeadView<'_> {
        type Error = Invalid;

        fn get(&self, variable: Variable) -> Result<Option<Cow<'_, [u8]>>, Invalid> {
            Ok(self.known()[variable.index()].map(Cow::from))
        }

        fn header_count(&self) -> usize {
            HeadView::headers(*self).count() + 1
        }

        fn headers(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Invalid>) -> Result<(), Invalid> {
            let host = self.known()[Variable::HttpHost.index()].map(|host| (&b"HTTP_HOST"[..], host));
            HeadView::headers(*self).chain(host).try_for_each(|(name, value)| each(&name[b"HTTP_".len()..], value))
        }
    }

    fn parts(target: &str, headers: &[(String, Vec<u8>)]) -> Parts {
        let mut request = http::Request::builder().uri(target).header("host", "test");
        for (name, value) in headers {
            request = request.header(format!("x-{name}"), value.as_slice());
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn usual_values_are_left_out() {
        let head = Head::new(&parts("/a", &[]), None);
        assert_eq!(head.view().method(), b"GET");
        let keys: Vec<_> = head.view().map(|(key, _)| key).collect();
        let expected = [
            Variable::PathInfo,
            Variable::RequestUri,
            Variable::ServerName,
            Variable::ServerPort,
            Variable::RemoteAddr,
            Variable::HttpHost,
        ];
        assert_eq!(keys, expected.map(Key::Known));
    }

    #[test]
    fn the_buffer_is_long_enough_from_the_start_for_an_ordinary_request() {
        let headers: Vec<_> = (0..12).map(|nth| (format!("header-{nth}"), b"some value of usual length; q=0.9".to_vec())).collect();
        let parts = parts("/some/path?with=a&query", &headers);
        let mut buffer = Buffer(Vec::with_capacity(512 + 48 * parts.headers.len()));
        let room = buffer.0.capacity();
        cgi::from_request(&parts, Some(7), &mut buffer);
        assert_eq!(buffer.0.capacity(), room);
    }

    #[test]
    fn a_websocket_is_announced_whatever_else_the_connection_header_says() {
        let mut parts = parts("/", &[]);
        parts.headers.insert(CONNECTION, "keep-alive, upgrade".parse().unwrap());
        parts.headers.insert(UPGRADE, "websocket, h2c".parse().unwrap());
        let head = Head::of_websocket(&parts);
        let headers: Vec<_> = head.view().headers().collect();
        assert_eq!(headers, [(&b"HTTP_CONNECTION"[..], &b"Upgrade"[..]), (b"HTTP_UPGRADE", b"websocket")]);
        assert_eq!(Head::new(&parts, None).view().headers().count(), 0);
    }

    proptest! {
        #[test]
        fn headers_arrive_as_they_were(
            headers in prop::collection::btree_map("[a-z]{1,8}(-[a-z]{1,8})?", prop::collection::vec(b' '..=b'~', 0..40), 0..10)
        ) {
            let headers: Vec<_> = headers.into_iter().collect();
            let head = Head::new(&parts("/", &headers), Some(7));
            for (name, value) in &headers {
                let key = format!("HTTP_X_{}", name.to_ascii_uppercase().replace('-', "_"));
                prop_assert!(head.view().any(|pair| pair == (Key::Header(key.as_bytes()), value.as_slice())));
            }
            prop_assert!(head.view().any(|pair| pair == (Key::Known(Variable::ContentLength), &b"7"[..])));
        }

        #[test]
        fn any_octets_are_read_without_harm(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(HeadView::of(&octets).count() <= octets.len());
        }

        #[test]
        fn a_head_reads_as_the_request_that_it_was_written_from(target in "/[a-z/]{0,20}(\\?[a-z=&]{1,10})?", length in proptest::option::of(any::<u64>())) {
            let head = Head::new(&parts(&target, &[("one".to_owned(), b"1".to_vec())]), length);
            let read = cgi::to_request(&head.view(), false).unwrap();
            let mut expected = HeaderMap::from_iter([("host".parse().unwrap(), "test".parse().unwrap()), ("x-one".parse().unwrap(), "1".parse().unwrap())]);
            if let Some(length) = length {
                expected.insert(http::header::CONTENT_LENGTH, length.into());
            }
            prop_assert_eq!((read.uri.to_string(), read.headers), (target, expected));
        }
    }
}
