//! Patterns of hosts.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use http::header;
use ziggurat_middleware::Request;

use super::pattern::text_pattern;

/// A host name or address, or `*.` and a name for every name below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// In lower case, without the dot of the root.
    Exact(String),
    Address(Ipv6Addr),
    /// The name with its leading dot.
    Below(String),
}

/// The host of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostOf<'a> {
    /// A name in any case, without the dot of the root, or an IPv4 address.
    Name(&'a str),
    Address(Ipv6Addr),
}

impl<'a> HostOf<'a> {
    pub(super) fn new(host: &'a str) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.parse().map_or_else(|_| Self::Name(host.strip_suffix('.').unwrap_or(host)), Self::Address)
    }
}

/// The host the client addressed, without its port: that of the target, else of the `Host` header (RFC 9112 section 3.2.2).
pub(crate) fn host_of(request: &Request) -> Option<&str> {
    if let Some(host) = request.uri().host() {
        return Some(host);
    }
    let authority = request.headers().get(header::HOST)?.to_str().ok()?;
    let host = match authority.find(']') {
        Some(end) if authority.starts_with('[') => &authority[..=end],
        _ => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    (!host.is_empty()).then_some(host)
}

impl Host {
    pub(super) fn holds(&self, host: HostOf<'_>) -> bool {
        match (self, host) {
            (Self::Exact(name), HostOf::Name(host)) => name.eq_ignore_ascii_case(host),
            (Self::Address(address), HostOf::Address(host)) => *address == host,
            (Self::Below(suffix), HostOf::Name(host)) => {
                let start = host.len().checked_sub(suffix.len()).filter(|start| *start > 0);
                start.is_some_and(|start| host.as_bytes()[start..].eq_ignore_ascii_case(suffix.as_bytes()))
            }
            _ => false,
        }
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(name) => self.holds(HostOf::Name(name)),
            Self::Address(address) => self.holds(HostOf::Address(*address)),
            Self::Below(suffix) => matches!(self, Self::Below(own) if suffix.ends_with(own.as_str())),
        }
    }

    /// Whether some host matches both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let hint = if text.contains("://") || text.contains('/') {
            "write the name alone, as in `\"example.com\"`"
        } else if text == "*" {
            "leave `host` out to take every host"
        } else if text.contains('*') {
            "a `*` stands only for whole leading labels, as in `\"*.example.com\"`"
        } else if text.contains(':') {
            "leave the port out; a route takes its host on every port"
        } else if !text.is_ascii() {
            "write it as the client sends it, in its ASCII form `xn--...`"
        } else {
            "write a name such as `\"example.com\"` or `\"*.example.com\"`"
        };
        let sound =
            |name: &str| !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_'));
        match HostOf::new(name) {
            HostOf::Address(address) if !below => Ok(Self::Address(address)),
            HostOf::Name(name) if sound(name) && below => Ok(Self::Below(format!(".{}", name.to_ascii_lowercase()))),
            HostOf::Name(name) if sound(name) => Ok(Self::Exact(name.to_ascii_lowercase())),
            _ => Err(format!("`{text}` is not a host\nhint: {hint}")),
        }
    }
}

text_pattern!(Host, "a host such as \"example.com\"", { "type": "string", "examples": ["example.com", "*.example.com"] });

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_are_compared_without_case_port_and_final_dot() {
        for (pattern, target, holds) in [
            ("example.com", "EXAMPLE.com:8000", true),
            ("Example.COM.", "example.com", true),
            ("example.com", "example.com.", true),
            ("example.com", "www.example.com", false),
            ("*.example.com", "a.B.Example.com:1", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "é.example.com", true),
            ("[::1]", "[0:0::1]:80", true),
            ("::1", "[::1]", true),
            ("127.0.0.1", "127.0.0.1:80", true),
        ] {
            let request = http::Request::builder().header("host", target).body(ziggurat_middleware::Body::empty()).unwrap();
            let Some(target_host) = host_of(&request) else { continue };
            assert_eq!(host(pattern).holds(HostOf::new(target_host)), holds, "{pattern} {target}");
        }
        assert!(host("*.example.com").covers(&host("*.a.example.com")) && !host("*.a.example.com").covers(&host("*.example.com")));
    }

    #[test]
    fn hosts_that_no_client_can_address_are_refused_with_a_hint() {
        for text in ["*", "", "*.", "example.com:80", "https://example.com", "a*.example.com", "ex ample", "bücher.example"] {
            assert!(text.parse::<Host>().unwrap_err().contains("\nhint: "), "{text}");
        }
    }
}
