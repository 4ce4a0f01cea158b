//! A request's head as CGI variables in one owned buffer, made without the interpreter.
//!
//! The buffer is a list of pairs, so that it can go to another process as it is. A pair is the number of a known key in one
//! octet (or 0, the length of the key and the key), the length of the value, and the value; lengths are 32 bits, little endian.

mod view;

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Uri, Version};
use http_body::Body as _;
use percent_encoding::percent_decode;
use ziggurat_middleware::forwarded::is_claim;
use ziggurat_middleware::{Body, ConnectionInfo, Mount, RemoteUser, RequestId};

pub(crate) use view::{HeadView, Key};

/// The keys that go as a number, which is their place in this list, and what a variable is where the head does not name it.
pub(crate) const KEYS: [(&str, Option<&str>); 18] = [
    ("", None),
    ("REQUEST_METHOD", Some("GET")),
    ("SCRIPT_NAME", Some("")),
    ("PATH_INFO", None),
    ("QUERY_STRING", Some("")),
    ("REQUEST_URI", None),
    ("SERVER_NAME", None),
    ("SERVER_PORT", None),
    ("SERVER_PROTOCOL", Some("HTTP/1.1")),
    ("REMOTE_ADDR", None),
    ("REMOTE_PORT", None),
    ("REMOTE_USER", None),
    ("AUTH_TYPE", None),
    ("CONTENT_TYPE", None),
    ("CONTENT_LENGTH", None),
    ("HTTP_HOST", None),
    ("wsgi.url_scheme", Some("http")),
    ("ziggurat.request_id", None),
];

const SPELLED_OUT: u8 = 0;
const REQUEST_METHOD: u8 = 1;
const SCRIPT_NAME: u8 = 2;
const PATH_INFO: u8 = 3;
const QUERY_STRING: u8 = 4;
pub(crate) const REQUEST_URI: u8 = 5;
const SERVER_NAME: u8 = 6;
const SERVER_PORT: u8 = 7;
const SERVER_PROTOCOL: u8 = 8;
const REMOTE_ADDR: u8 = 9;
const REMOTE_PORT: u8 = 10;
const REMOTE_USER: u8 = 11;
const AUTH_TYPE: u8 = 12;
const CONTENT_TYPE: u8 = 13;
const CONTENT_LENGTH: u8 = 14;
pub(crate) const HTTP_HOST: u8 = 15;
const URL_SCHEME: u8 = 16;
const REQUEST_ID: u8 = 17;

/// A request's head: environ pairs in one buffer.
#[derive(Clone)]
pub(crate) struct Head(Bytes);

/// A head in the making.
struct Pairs(Vec<u8>);

impl Head {
    /// The head of this request, whose body has this length as far as it is known.
    pub(crate) fn new(parts: &Parts, content_length: Option<u64>) -> Self {
        let mut head = Pairs(Vec::with_capacity(512 + 48 * parts.headers.len()));
        head.line(parts);
        head.addresses(parts);
        if let Some(user) = parts.extensions.get::<RemoteUser>() {
            head.known(REMOTE_USER, user.user.as_bytes());
            if !user.auth_type.is_empty() {
                head.known(AUTH_TYPE, user.auth_type.as_bytes());
            }
        }
        if let Some(id) = parts.extensions.get::<RequestId>() {
            head.known(REQUEST_ID, id.as_header().as_bytes());
        }
        if let Some(length) = content_length {
            head.number(CONTENT_LENGTH, length);
        }
        let is_vetted = parts.extensions.get::<ConnectionInfo>().is_some_and(|connection| connection.is_vetted);
        head.headers(&parts.headers, parts.uri.authority().is_some(), is_vetted);
        Self(head.0.into())
    }

    /// The head of this request, whose body is this.
    pub(crate) fn with_body(parts: &Parts, body: &Body) -> Self {
        let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self::new(parts, body.size_hint().exact().filter(|length| *length > 0).or(declared))
    }

    /// A head as it came from another process.
    pub(crate) const fn framed(pairs: Bytes) -> Self {
        Self(pairs)
    }

    /// The pairs, to be sent to another process.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The pairs.
    pub(crate) fn view(&self) -> HeadView<'_> {
        HeadView::of(&self.0)
    }
}

impl Pairs {
    /// What the request line says.
    fn line(&mut self, parts: &Parts) {
        let mount = parts.extensions.get::<Mount>();
        self.known(REQUEST_METHOD, parts.method.as_str().as_bytes());
        self.known(SERVER_PROTOCOL, protocol(parts.version).as_bytes());
        self.known(SCRIPT_NAME, &decoded(mount.map_or("", |mount| &mount.prefix)));
        self.known(PATH_INFO, &decoded(path_below(&parts.uri, mount)));
        self.known(QUERY_STRING, parts.uri.query().unwrap_or_default().as_bytes());
        let uri = mount.map_or(&parts.uri, |mount| &mount.target);
        let target = uri.path_and_query().map_or_else(|| uri.path(), |target| target.as_str());
        self.known(REQUEST_URI, target.as_bytes());
    }

    /// Who speaks to whom, and how. `SERVER_PORT` is what a trusted proxy said, else the port in `Host`, else the listener's (as with
    /// nginx: a `Host` without a port does not tell how many ports were mapped on the way).
    fn addresses(&mut self, parts: &Parts) {
        let connection = parts.extensions.get::<ConnectionInfo>();
        let scheme = connection.map(|connection| connection.scheme).unwrap_or_default();
        let local = connection.and_then(|connection| connection.local);
        let host = match parts.uri.authority() {
            Some(authority) => {
                let host = without_user(authority.as_str());
                self.known(HTTP_HOST, host.as_bytes());
                host
            }
            None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
        };
        let (name, port) = split_port(host);
        if name.is_empty() {
            match local.map(|local| local.ip()) {
                Some(ip @ IpAddr::V4(_)) => self.address(SERVER_NAME, ip),
                Some(IpAddr::V6(ip)) => self.written(SERVER_NAME, format_args!("[{ip}]")),
                None => self.known(SERVER_NAME, b"localhost"),
            }
        } else {
            self.known(SERVER_NAME, name.as_bytes());
        }
        let told = connection.and_then(|connection| connection.server_port).or(port);
        self.number(SERVER_PORT, told.or_else(|| local.map(|local| local.port())).unwrap_or_else(|| scheme.default_port()));
        match connection.and_then(|connection| connection.client) {
            Some(client) => self.address(REMOTE_ADDR, client.to_canonical()),
            // RFC 3875 section 4.1.8 wants it always there; a client on a Unix socket has none.
            None => self.known(REMOTE_ADDR, b""),
        }
        if let Some(port) = connection.and_then(|connection| connection.client_port) {
            self.number(REMOTE_PORT, port);
        }
        self.known(URL_SCHEME, scheme.as_str().as_bytes());
    }

    /// One variable per header; the lines of a repeated one are joined. What proxies say of the client counts only where it was judged.
    fn headers(&mut self, headers: &HeaderMap, host_is_told: bool, is_vetted: bool) {
        if let Some(value) = headers.get(header::CONTENT_TYPE) {
            self.known(CONTENT_TYPE, value.as_bytes());
        }
        for name in headers.keys() {
            if !is_passed_on(name) || (host_is_told && name == header::HOST) || (!is_vetted && is_claim(name)) {
                continue;
            }
            if name == header::HOST {
                self.0.push(HTTP_HOST);
            } else {
                self.0.push(SPELLED_OUT);
                self.length(name.as_str().len() + 5);
                self.0.extend_from_slice(b"HTTP_");
                self.0.extend(name.as_str().bytes().map(|octet| if octet == b'-' { b'_' } else { octet.to_ascii_uppercase() }));
            }
            let separator: &[u8] = if name == header::COOKIE { b"; " } else { b", " };
            self.measured(|buffer| {
                for (nth, value) in headers.get_all(name).iter().enumerate() {
                    if nth > 0 {
                        buffer.extend_from_slice(separator);
                    }
                    buffer.extend_from_slice(value.as_bytes());
                }
            });
        }
    }

    fn known(&mut self, key: u8, value: &[u8]) {
        if KEYS[usize::from(key)].1.is_some_and(|usual| usual.as_bytes() == value) {
            return;
        }
        self.0.push(key);
        self.length(value.len());
        self.0.extend_from_slice(value);
    }

    /// Without `fmt`, which costs several times as much; this is done for every request.
    fn number(&mut self, key: u8, number: impl itoa::Integer) {
        self.known(key, itoa::Buffer::new().format(number).as_bytes());
    }

    fn address(&mut self, key: u8, address: IpAddr) {
        let IpAddr::V4(address) = address else { return self.written(key, address) };
        self.0.push(key);
        self.measured(|buffer| {
            for (nth, octet) in address.octets().into_iter().enumerate() {
                if nth > 0 {
                    buffer.push(b'.');
                }
                buffer.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        });
    }

    fn written(&mut self, key: u8, value: impl std::fmt::Display) {
        self.0.push(key);
        self.measured(|buffer| {
            // Writing into memory cannot fail.
            let _ = write!(buffer, "{value}");
        });
    }

    /// Appends what `fill` gives, its length before it.
    fn measured(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let at = self.0.len();
        self.length(0);
        fill(&mut self.0);
        let length = self.0.len() - at - 4;
        self.0[at..at + 4].copy_from_slice(&to_u32(length).to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        self.0.extend_from_slice(&to_u32(length).to_le_bytes());
    }
}

/// Heads are bounded by the server, far below 4 GiB.
fn to_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The path below the mount, which is empty for exactly the mount (a [`Uri`] cannot say that: its path is never empty).
fn path_below<'a>(uri: &'a Uri, mount: Option<&Mount>) -> &'a str {
    match (uri.path(), mount) {
        ("/", Some(mount)) if !mount.prefix.is_empty() && mount.target.path() == &*mount.prefix => "",
        (path, _) => path,
    }
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

fn decoded(path: &str) -> Cow<'_, [u8]> {
    percent_decode(path.as_bytes()).into()
}

/// Whether a header becomes a variable `HTTP_...`: not the ones with a variable of their own, not what was undone on the way in, nor what
/// would pass for another variable.
fn is_passed_on(name: &HeaderName) -> bool {
    *name != header::CONTENT_LENGTH
        && *name != header::CONTENT_TYPE
        && *name != header::TRANSFER_ENCODING
        && name.as_str() != "proxy"
        && !name.as_str().contains('_')
}

fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Host and port of `host:port`, `host`, `[v6]:port` or `[v6]`.
fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(target: &str, headers: &[(String, Vec<u8>)]) -> Parts {
        let mut request = http::Request::builder().uri(target).header("host", "test");
        for (name, value) in headers {
            request = request.header(format!("x-{name}"), value.as_slice());
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_is_usual_is_left_out() {
        let head = Head::new(&parts("/a", &[]), None);
        assert_eq!(head.view().method(), b"GET");
        let keys: Vec<_> = head.view().map(|(key, _)| key).collect();
        let expected = [PATH_INFO, REQUEST_URI, SERVER_NAME, SERVER_PORT, REMOTE_ADDR, HTTP_HOST];
        assert_eq!(keys, expected.map(|key| Key::Known(key.into())));
    }

    #[test]
    fn hosts_are_split_from_ports() {
        for (host, split) in [
            ("a", ("a", None)),
            ("a:80", ("a", Some(80))),
            ("a:", ("a", None)),
            ("a:99999", ("a", None)),
            ("[::1]", ("[::1]", None)),
            ("[::1]:80", ("[::1]", Some(80))),
            ("", ("", None)),
        ] {
            assert_eq!(split_port(host), split);
        }
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
            prop_assert!(head.view().any(|pair| pair == (Key::Known(CONTENT_LENGTH.into()), &b"7"[..])));
        }

        #[test]
        fn any_octets_are_read_without_harm(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(HeadView::of(&octets).count() <= octets.len());
        }
    }
}
