//! Nodes and hosts as proxies write them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderValue;

/// The peer that a proxy names (RFC 7239 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Address(IpAddr, Option<u16>),
    /// A client on a Unix socket; nginx writes `unix:`.
    Unix,
    /// `unknown` or `_anything`: the proxy names no address.
    Hidden,
}

impl Node {
    /// `None` if it is invalid. IPv6 addresses may have brackets or, as in `X-Forwarded-For`, none.
    pub(super) fn parse(octets: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(octets).ok()?;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), None));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Self::Address(address.ip().to_canonical(), Some(address.port())));
        }
        if text == "unix:" {
            return Some(Self::Unix);
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if is_obfuscated(port) || is_number(port) => (name, Some(port)),
            _ => (text, None),
        };
        if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
            return Some(Self::Hidden);
        }
        // An address whose port is hidden or missing. With a number, it would be a socket address.
        let address = match (in_brackets(name), port) {
            (Some(address), None) => Some(address),
            (address, Some(port)) if is_obfuscated(port) => address.or_else(|| name.parse().ok().filter(IpAddr::is_ipv4)),
            _ => None,
        };
        address.map(|address| Self::Address(address.to_canonical(), None))
    }
}

/// A host and its port. Stricter than RFC 3986, because apps put the name into URLs and mails.
pub(super) fn host(octets: &[u8]) -> Option<(HeaderValue, Option<u16>)> {
    let text = std::str::from_utf8(octets).ok()?;
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !text.ends_with(']') => (name, Some(self::port(port.as_bytes())?)),
        _ => (text, None),
    };
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet));
    if name.len() > 255 || !(is_name(name) || in_brackets(name).is_some()) {
        return None;
    }
    Some((HeaderValue::from_str(text).ok()?, port))
}

/// A port other than 0.
pub(super) fn port(octets: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(octets).ok()?;
    text.parse().ok().filter(|port| *port != 0 && is_number(text))
}

fn in_brackets(text: &str) -> Option<IpAddr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from)
}

fn is_obfuscated(text: &str) -> bool {
    text.strip_prefix('_')
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._-".contains(&octet)))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_way_to_write_a_hop_is_read() {
        let v4 = "192.0.2.1".parse().unwrap();
        let v6 = "2001:db8::1".parse().unwrap();
        for (text, node) in [
            ("192.0.2.1", Node::Address(v4, None)),
            ("192.0.2.1:4711", Node::Address(v4, Some(4711))),
            ("192.0.2.1:_x", Node::Address(v4, None)),
            ("::ffff:192.0.2.1", Node::Address(v4, None)),
            ("2001:db8::1", Node::Address(v6, None)),
            ("[2001:db8::1]", Node::Address(v6, None)),
            ("[2001:db8::1]:4711", Node::Address(v6, Some(4711))),
            ("[2001:DB8::1]:_p-1", Node::Address(v6, None)),
            ("unknown", Node::Hidden),
            ("Unknown:80", Node::Hidden),
            ("_hidden", Node::Hidden),
            ("_SEVKISEK:_1", Node::Hidden),
            ("unix:", Node::Unix),
        ] {
            assert_eq!(Node::parse(text.as_bytes()), Some(node), "{text}");
        }
    }

    #[test]
    fn what_is_no_hop_is_not_read() {
        for text in [
            "",
            "_",
            "localhost",
            "192.0.2",
            "192.0.2.1:",
            "192.0.2.1:65536",
            "192.0.2.1:+80",
            "[::1",
            "::1]",
            "[192.0.2.1]",
            "[::1]80",
            "[::1]:",
            "192.0.2.1 ",
            "2001:db8::1:_x",
            "_a b",
            "unknown:",
            "192.0.2.1\0",
            "1.2.3.4.5",
            "\u{661}.2.3.4",
        ] {
            assert_eq!(Node::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_maybe_a_port() {
        for (text, port) in
            [("example.com", None), ("example.com:8443", Some(8443)), ("a_b.test", None), ("[::1]", None), ("[::1]:80", Some(80))]
        {
            assert_eq!(host(text.as_bytes()), Some((HeaderValue::from_static(text), port)), "{text}");
        }
        for text in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a b",
            "a/b",
            "u@a",
            "a,b",
            "[::1",
            "[x]",
            "a\"b",
            "a#b",
            "a?b",
            "a\\b",
            "b\u{fc}cher",
            "::1",
        ] {
            assert_eq!(host(text.as_bytes()), None, "{text}");
        }
        assert_eq!(host(&[b'a'; 256]), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_not(octets in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Node::parse(&octets);
            let _ = host(&octets);
            let _ = port(&octets);
        }

        #[test]
        fn any_address_is_read_back(address: SocketAddr) {
            prop_assert_eq!(Node::parse(address.to_string().as_bytes()), Some(Node::Address(address.ip().to_canonical(), Some(address.port()))));
            prop_assert_eq!(Node::parse(address.ip().to_string().as_bytes()), Some(Node::Address(address.ip().to_canonical(), None)));
        }
    }
}
