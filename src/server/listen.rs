//! An entry of `listen` in the pipeline file.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use ziggurat_middleware::{ConnectionInfo, Peer};

use super::{Address, HttpVersions, SocketAccess, Transport};

/// What to listen on, and how to serve the connections that are accepted there.
///
/// The address identifies a listener: a reload keeps the socket of an address and replaces the rest for connections to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where clients connect.
    pub address: Address,
    /// What stands between the socket and the protocol.
    pub transport: Transport,
    /// What clients speak.
    pub protocol: Protocol,
    /// The versions of HTTP that they may choose from.
    pub http: HttpVersions,
    /// Whose variables are believed, where the protocol is one of front servers.
    pub trust: Trust,
    /// Who may connect to a Unix socket.
    pub access: SocketAccess,
}

/// The protocol inside the transports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ListenProtocol")]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP: in clear text, HTTP/2 is known to the client beforehand (RFC 9113 section 3.3).
    #[default]
    Http,
    /// FastCGI 1.0, as `fastcgi_pass` of nginx and mod_proxy_fcgi of Apache speak it.
    FastCgi,
    /// SCGI, as `scgi_pass` of nginx and mod_proxy_scgi of Apache speak it.
    Scgi,
    /// The uwsgi protocol, as `uwsgi_pass` of nginx and mod_proxy_uwsgi of Apache speak it.
    Uwsgi,
}

/// The front servers that may connect to a listener with a gateway protocol: what they say of a request is believed. By default those on a Unix
/// socket, whose file says who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust(Arc<[Peer]>);

impl Trust {
    /// Whether the peer of a connection is one of them.
    #[must_use]
    pub fn includes(&self, peer: &ConnectionInfo) -> bool {
        self.0.iter().any(|trusted| trusted.sent(peer))
    }

    /// All of them.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        &self.0
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self(Arc::new([Peer::Unix]))
    }
}

impl From<Vec<Peer>> for Trust {
    fn from(peers: Vec<Peer>) -> Self {
        Self(peers.into())
    }
}

impl Listen {
    /// What stands before its address for people, as in `http://127.0.0.1:8000`.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        match self.protocol {
            Protocol::Http => self.transport.scheme().as_str(),
            Protocol::FastCgi => "fastcgi",
            Protocol::Scgi => "scgi",
            Protocol::Uwsgi => "uwsgi",
        }
    }
}

impl From<Address> for Listen {
    fn from(address: Address) -> Self {
        Self {
            address,
            transport: Transport::default(),
            protocol: Protocol::default(),
            http: HttpVersions::default(),
            trust: Trust::default(),
            access: SocketAccess::default(),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Address::into)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListenVisitor)
    }
}

struct ListenVisitor;

impl Visitor<'_> for ListenVisitor {
    type Value = Listen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address such as \"127.0.0.1:8000\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Listen, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Listen, E> {
        self.visit_str(&number.to_string())
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Listen")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An address to listen on: `127.0.0.1:8000`, `[::1]:8000`, `localhost:8000`, `:8000` or `[::]:8000` (every interface), \
                            `unix:run/site.sock` (relative to this file), `fd:3` (an inherited socket), `systemd` (every socket that systemd passed), \
                            `systemd:http` (those of this `FileDescriptorName=`).",
            "pattern": r"^(unix:.+|fd:[0-9]+|systemd(:[ -9;-~]+)?|.*:[0-9]+|.*\$.*)$",
            "examples": ["127.0.0.1:8000", ":8000", "[::1]:8000", "unix:run/site.sock", "fd:3", "systemd", "systemd:http"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_alone_is_clear_text_http() {
        let listen: Listen = serde_json::from_str("\":8000\"").unwrap();
        assert_eq!(
            listen,
            Listen {
                address: Address::Tcp { host: None, port: 8000 },
                transport: Transport::default(),
                protocol: Protocol::Http,
                http: HttpVersions::default(),
                trust: Trust::default(),
                access: SocketAccess::default()
            }
        );
        assert_eq!(serde_json::to_string(&listen).unwrap(), "\":8000\"");
    }

    #[test]
    fn a_bare_number_is_refused_as_a_port_alone() {
        assert!(serde_json::from_str::<Listen>("8000").unwrap_err().to_string().contains("only a port"));
    }
}
