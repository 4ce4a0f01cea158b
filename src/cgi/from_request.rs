//! Request to variables.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;

use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Uri, Version};
use percent_encoding::percent_decode;
use ziggurat_middleware::{Authenticated, ConnectionInfo, Mount, OriginalUri, RemoteUser, RequestId, TlsInfo, WsgiLint};

use super::{Variable, VariableSink, has_variable, tls};

/// Writes the variables of a request. `content_length` is the length of its body, if it is known.
pub(crate) fn from_request(parts: &Parts, content_length: Option<u64>, sink: &mut impl VariableSink) {
    request_line(parts, sink);
    addresses(parts, sink);
    if let Some(user) = parts.extensions.get::<RemoteUser>() {
        sink.set(Variable::RemoteUser, user.user.as_bytes());
        if !user.auth_type.is_empty() {
            sink.set(Variable::AuthType, user.auth_type.as_bytes());
        }
    } else if let Some(authenticated) = parts.extensions.get::<Authenticated>() {
        // RFC 3875 section 4.1.1: also where no user is named.
        sink.set(Variable::AuthType, authenticated.auth_type.as_bytes());
    }
    if let Some(id) = parts.extensions.get::<RequestId>() {
        sink.set(Variable::RequestId, id.as_header().as_bytes());
    }
    if let Some(lint) = parts.extensions.get::<WsgiLint>() {
        sink.set(Variable::WsgiLint, lint.as_str().as_bytes());
    }
    if let Some(tls) = parts.extensions.get::<TlsInfo>() {
        tls::write(tls, sink);
    }
    if let Some(length) = content_length {
        set_number(sink, Variable::ContentLength, length);
    }
    let is_vetted = parts.extensions.get::<ConnectionInfo>().is_some_and(|connection| connection.is_vetted);
    headers(&parts.headers, parts.uri.authority().is_some(), is_vetted, sink);
}

fn request_line(parts: &Parts, sink: &mut impl VariableSink) {
    let mount = parts.extensions.get::<Mount>();
    sink.set(Variable::RequestMethod, parts.method.as_str().as_bytes());
    sink.set(Variable::ServerProtocol, protocol(parts.version).as_bytes());
    sink.set(Variable::ScriptName, &decoded(mount.map_or("", |mount| &mount.prefix)));
    sink.set(Variable::PathInfo, &decoded(path_below(&parts.uri, mount)));
    sink.set(Variable::QueryString, parts.uri.query().unwrap_or_default().as_bytes());
    let uri = OriginalUri::of(&parts.uri, &parts.extensions);
    let target = uri.path_and_query().map_or_else(|| uri.path(), |target| target.as_str());
    sink.set(Variable::RequestUri, target.as_bytes());
}

/// `SERVER_PORT` is the port that a trusted proxy reports, else the one in `Host`, else the listener's. (nginx does the same: a `Host` without a port
/// does not tell how ports were mapped on the way.)
fn addresses(parts: &Parts, sink: &mut impl VariableSink) {
    let connection = parts.extensions.get::<ConnectionInfo>();
    let scheme = connection.map(|connection| connection.scheme).unwrap_or_default();
    let local = connection.and_then(|connection| connection.local);
    let host = match parts.uri.authority() {
        Some(authority) => {
            let host = without_user(authority.as_str());
            sink.set(Variable::HttpHost, host.as_bytes());
            host
        }
        None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    let (name, port) = split_port(host);
    if name.is_empty() {
        match local.map(|local| local.ip()) {
            Some(ip @ IpAddr::V4(_)) => sink.set(Variable::ServerName, Text::of_address(ip).as_bytes()),
            Some(IpAddr::V6(ip)) => sink.set(Variable::ServerName, Text::of(format_args!("[{ip}]")).as_bytes()),
            None => sink.set(Variable::ServerName, b"localhost"),
        }
    } else {
        sink.set(Variable::ServerName, name.as_bytes());
    }
    let told = connection.and_then(|connection| connection.server_port).or(port);
    set_number(sink, Variable::ServerPort, told.or_else(|| local.map(|local| local.port())).unwrap_or_else(|| scheme.default_port()));
    match connection.and_then(|connection| connection.client) {
        Some(client) => sink.set(Variable::RemoteAddr, Text::of_address(client.to_canonical()).as_bytes()),
        // Section 4.1.8: the variable is always set. A client on a Unix socket has no address.
        None => sink.set(Variable::RemoteAddr, b""),
    }
    if let Some(port) = connection.and_then(|connection| connection.client_port) {
        set_number(sink, Variable::RemotePort, port);
    }
    sink.set(Variable::UrlScheme, scheme.as_str().as_bytes());
}

/// One variable per header. The lines of a repeated header are joined (section 4.1.18). Claims of proxies about the client are left out unless a
/// layer has judged them.
fn headers(headers: &HeaderMap, host_is_set: bool, is_vetted: bool, sink: &mut impl VariableSink) {
    if let Some(value) = headers.get(header::CONTENT_TYPE) {
        sink.set(Variable::ContentType, value.as_bytes());
    }
    // Lines of one name follow each other.
    let mut lines = headers.iter().peekable();
    while let Some((name, first)) = lines.next() {
        if !has_variable(name, is_vetted) || (host_is_set && name == header::HOST) {
            continue;
        }
        let mut value = Cow::from(first.as_bytes());
        while let Some((_, next)) = lines.next_if(|(next, _)| *next == name) {
            let value = value.to_mut();
            value.extend_from_slice(if name == header::COOKIE { b"; " } else { b", " });
            value.extend_from_slice(next.as_bytes());
        }
        if name == header::HOST {
            sink.set(Variable::HttpHost, &value);
        } else {
            sink.set_header(name, &value);
        }
    }
}

fn set_number(sink: &mut impl VariableSink, variable: Variable, number: impl itoa::Integer) {
    sink.set(variable, itoa::Buffer::new().format(number).as_bytes());
}

/// An address as text, without an allocation.
struct Text {
    octets: [u8; 64],
    length: usize,
}

impl Text {
    /// Formats IPv4 addresses without `fmt`, which is several times slower: every request has one.
    fn of_address(address: IpAddr) -> Self {
        let IpAddr::V4(address) = address else { return Self::of(format_args!("{address}")) };
        let mut text = Self { octets: [0; 64], length: 0 };
        for (nth, octet) in address.octets().into_iter().enumerate() {
            if nth > 0 {
                text.push(b".");
            }
            text.push(itoa::Buffer::new().format(octet).as_bytes());
        }
        text
    }

    /// The longest IPv6 address in brackets has 47 octets, so all of it fits.
    fn of(address: std::fmt::Arguments<'_>) -> Self {
        let mut text = Self { octets: [0; 64], length: 0 };
        let mut rest = &mut text.octets[..];
        let _ = rest.write_fmt(address);
        let left = rest.len();
        text.length = text.octets.len() - left;
        text
    }

    fn push(&mut self, octets: &[u8]) {
        self.octets[self.length..self.length + octets.len()].copy_from_slice(octets);
        self.length += octets.len();
    }

    fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// The path below the mount. It is empty if the request asks for exactly the mount; the path of a [`Uri`] is never empty.
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
    use super::*;

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

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for address in ["0.0.0.0", "255.255.255.255", "192.0.2.1", "::", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"] {
            assert_eq!(Text::of_address(address.parse().unwrap()).as_bytes(), address.as_bytes());
        }
        let longest = Text::of(format_args!("[{}]", "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"));
        assert_eq!(longest.as_bytes().len(), 47);
    }
}
