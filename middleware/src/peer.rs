//! The other ends of connections, as options name them.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{ConnectionInfo, Network};

/// Whom an option means by a network such as `10.0.0.0/8`, an address, or `unix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Peer {
    /// A client on a Unix socket.
    Unix,
    /// A client in this network.
    Net(Network),
}

impl Peer {
    /// Whether this is a client with this address. `None` is a client on a Unix socket.
    #[must_use]
    pub fn is(&self, address: Option<IpAddr>) -> bool {
        match (self, address) {
            (Self::Unix, None) => true,
            (Self::Net(net), Some(address)) => net.contains(address),
            _ => false,
        }
    }

    /// Whether this is the client of a request: as a `forwarded` layer above has found it, or else the peer of the connection.
    #[must_use]
    pub fn sent(&self, connection: &ConnectionInfo) -> bool {
        match (connection.client, connection.local) {
            // A client whose address is not known.
            (None, Some(_)) => false,
            (address, _) => self.is(address),
        }
    }
}

impl TryFrom<String> for Peer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let net = text.parse().map_err(|error: String| {
            let listed = "write an address such as `127.0.0.1`, a network such as `10.0.0.0/8`, or `unix`";
            if error.contains("is not a network") { format!("`{text}` is not a network\nhint: {listed}") } else { error }
        })?;
        Ok(Self::Net(net))
    }
}

impl From<Peer> for String {
    fn from(peer: Peer) -> Self {
        peer.to_string()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Net(net) => net.fmt(f),
        }
    }
}

impl JsonSchema for Peer {
    fn schema_name() -> Cow<'static, str> {
        "Peer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A network such as `10.0.0.0/8`, an address, or `unix`." })
    }
}

/// Whoever has one share of something: an IPv4 address, or the IPv6 network of one site (a /64), from which a client can choose addresses at will. Clients on
/// Unix sockets, and those whose address is not known, are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientShare(Option<IpAddr>);

impl From<Option<IpAddr>> for ClientShare {
    fn from(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address => address,
        }))
    }
}

impl ClientShare {
    /// The octets of the address: none of a client without one.
    pub(crate) fn octets<R>(self, with: impl FnOnce(&[u8]) -> R) -> R {
        match self.0 {
            None => with(&[]),
            Some(IpAddr::V4(address)) => with(&address.octets()),
            Some(IpAddr::V6(address)) => with(&address.octets()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Result<Peer, String> {
        Peer::try_from(text.to_owned())
    }

    #[test]
    fn networks_addresses_and_unix_are_read_and_printed() {
        for text in ["unix", "127.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "0.0.0.0/0"] {
            assert_eq!(peer(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0", "*", "10.0.0.0/8 "] {
            assert!(peer(text).unwrap_err().contains("is not a network"), "{text}");
        }
        assert!(peer("10.1.2.3/8").unwrap_err().contains("write `10.0.0.0/8` or `10.1.2.3`"));
    }

    #[test]
    fn a_client_without_an_address_is_on_a_unix_socket() {
        assert!(peer("unix").unwrap().is(None) && !peer("0.0.0.0/0").unwrap().is(None));
        assert!(!peer("unix").unwrap().is(Some([192, 0, 2, 1].into())));
        assert!(peer("192.0.2.0/24").unwrap().is(Some("::ffff:192.0.2.1".parse().unwrap())));
    }

    #[test]
    fn an_ipv6_client_has_one_share_whichever_of_its_addresses_it_uses() {
        let share = |text: &str| ClientShare::from(Some(text.parse().unwrap()));
        assert_eq!(share("2001:db8:1:2::1"), share("2001:db8:1:2:ffff::9"));
        assert_ne!(share("2001:db8:1:2::1"), share("2001:db8:1:3::1"));
        assert_eq!(share("::ffff:192.0.2.1"), share("192.0.2.1"));
        assert_ne!(share("192.0.2.1"), share("192.0.2.2"));
    }
}
