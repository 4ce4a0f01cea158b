//! The place of an upstream server as the pipeline file writes it: a URL or the path of a Unix socket.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use ziggurat_middleware::Scheme;

/// One upstream server: how to reach it, and the path that every request to it starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    /// What stands before `://` where the target is printed; `None` where nothing does.
    protocol: Option<&'static str>,
    pub(crate) host: Host,
    /// The path of the URL without a slash at its end: empty for none.
    pub(crate) path: Box<str>,
}

/// What has to be known before a connection can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A name, which may have several addresses.
    Name(Box<str>, u16),
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Ip(SocketAddr),
    Unix(Arc<Path>),
}

impl Target {
    /// A Unix socket at this path.
    pub(crate) fn of_socket(path: &str) -> Result<Self, String> {
        if path.is_empty() || path.contains('\0') {
            return Err("`unix:` is followed by the path of a socket, as in `unix:run/app.sock`".to_owned());
        }
        Ok(Self { scheme: Scheme::Http, protocol: None, host: Host::Unix(path.into()), path: "".into() })
    }

    /// A host and a port, without a scheme.
    pub(crate) fn of_host(host: Host) -> Self {
        Self { scheme: Scheme::Http, protocol: None, host, path: "".into() }
    }

    /// The value of a `Host` header for this server (RFC 9110 section 7.2): the port is left out where it is the scheme's own.
    pub(crate) fn authority(&self) -> String {
        let (host, port) = match &self.host {
            Host::Name(name, port) => (name.to_string(), *port),
            Host::Ip(address) => match address.ip() {
                IpAddr::V4(ip) => (ip.to_string(), address.port()),
                IpAddr::V6(ip) => (format!("[{ip}]"), address.port()),
            },
            Host::Unix(_) => return "localhost".to_owned(),
        };
        if self.protocol.is_some() && port == self.scheme.default_port() { host } else { format!("{host}:{port}") }
    }

    /// The address, where no name has to be looked up. Relative paths start at `base`.
    pub(crate) fn address(&self, base: impl FnOnce(&Path) -> PathBuf) -> Option<Address> {
        match &self.host {
            Host::Name(..) => None,
            Host::Ip(address) => Some(Address::Ip(*address)),
            Host::Unix(path) => Some(Address::Unix(base(path).into())),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Unix(path) => write!(f, "unix:{}", path.display()),
            Host::Name(..) | Host::Ip(_) => match self.protocol {
                Some(protocol) => write!(f, "{protocol}://{}{}", self.authority(), self.path),
                None => f.write_str(&self.authority()),
            },
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::of_socket(path);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("`{text}` has no scheme\nhint: write `http://{text}`, or `unix:` and a path for a Unix socket"));
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "ws" => return Err(format!("`ws` is not a scheme of an upstream\nhint: write `http://{rest}`: WebSockets pass through it")),
            "wss" => return Err(format!("`wss` is not a scheme of an upstream\nhint: write `https://{rest}`: WebSockets pass through it")),
            other => {
                return Err(format!(
                    "`{other}` is not a scheme of an upstream\nhint: schemes are `http://` and `https://`, and `unix:` for sockets"
                ));
            }
        };
        let uri: Uri = text.parse().map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        let authority = uri.authority().ok_or_else(|| format!("`{text}` names no host"))?;
        if authority.as_str().contains('@') {
            return Err(
                "a URL of an upstream has no user and password\nhint: set the header `authorization` with a `headers` layer".to_owned()
            );
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(format!("`{text}` has a query or a fragment\nhint: a URL of an upstream ends with its path"));
        }
        let port = match (authority.port_u16(), authority.as_str().rsplit_once(':')) {
            (Some(0), _) => return Err(format!("`{text}` has port 0, which nothing listens on")),
            (Some(port), _) => port,
            (None, Some((_, digits))) if !digits.ends_with(']') => return Err(format!("`{digits}` is not a port")),
            (None, _) => scheme.default_port(),
        };
        let name = authority.host();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let host = match bare.parse::<IpAddr>() {
            Ok(ip) => Host::Ip(SocketAddr::new(ip, port)),
            Err(_) if name.is_empty() => return Err(format!("`{text}` names no host")),
            Err(_) => Host::Name(name.to_ascii_lowercase().into(), port),
        };
        Ok(Self { scheme, protocol: Some(scheme.as_str()), host, path: uri.path().trim_end_matches('/').into() })
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ziggurat_middleware::options::from_text(deserializer, "the URL of an upstream, such as \"http://10.0.0.5:9000\"")
    }
}

impl JsonSchema for Target {
    fn schema_name() -> Cow<'static, str> {
        "UpstreamTarget".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`http://`, `https://` with a host, a port and perhaps a path, or `unix:` with the path of a socket.",
            "examples": ["http://10.0.0.5:9000", "https://api.internal/v2", "unix:run/app.sock"]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_print_as_they_are_written() {
        for (text, printed, authority) in [
            ("http://10.0.0.5:9000", "http://10.0.0.5:9000", "10.0.0.5:9000"),
            ("https://api.internal/v2/", "https://api.internal/v2", "api.internal"),
            ("HTTP://App:80/", "http://app", "app"),
            ("https://[::1]:8443", "https://[::1]:8443", "[::1]:8443"),
            ("unix:run/app.sock", "unix:run/app.sock", "localhost"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.to_string().as_str(), target.authority().as_str()), (printed, authority), "{text}");
        }
    }

    #[test]
    fn what_is_no_upstream_is_refused_with_a_hint() {
        for (text, said) in [
            ("10.0.0.5:9000", "write `http://10.0.0.5:9000`"),
            ("localhost", "has no scheme"),
            ("ws://app/socket", "write `http://app/socket`"),
            ("fcgi://app", "`fcgi` is not a scheme"),
            ("http://", "is not a URL"),
            ("http:///path", "is not a URL"),
            ("http://app:0", "port 0"),
            ("http://app:99999", "is not a"),
            ("http://user:secret@app", "`authorization`"),
            ("http://app/?x=1", "query"),
            ("http://app/#top", "fragment"),
            ("http://a b", "is not a URL"),
            ("unix:", "path of a socket"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,30}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
            }
        }
    }
}
