//! Which peers are trusted.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::node::Node;
use crate::{ConnectionInfo, Network};

/// One entry of `trust`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) enum Peer {
    /// A client on a Unix socket.
    Unix,
    /// A client in this network.
    Net(Network),
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

/// The trusted peers.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    unix: bool,
    nets: Arc<[Network]>,
    /// So many proxies are in front, whatever their addresses are.
    proxies: Option<usize>,
}

impl Trust {
    pub(super) fn new(peers: Vec<Peer>) -> Self {
        let unix = peers.contains(&Peer::Unix);
        let nets = peers.into_iter().filter_map(|peer| match peer {
            Peer::Unix => None,
            Peer::Net(net) => Some(net),
        });
        Self { unix, nets: nets.collect(), proxies: None }
    }

    /// Trusts the peer of every connection, and the proxies before it up to this number.
    pub(super) fn in_front(proxies: NonZeroUsize) -> Self {
        Self { unix: false, nets: Arc::default(), proxies: Some(proxies.get()) }
    }

    /// Whether the peer of the connection is a trusted proxy.
    pub(super) fn sent(&self, connection: &ConnectionInfo) -> bool {
        if self.proxies.is_some() {
            return true;
        }
        match (connection.client, connection.local) {
            (Some(address), _) => self.holds(address),
            (None, None) => self.unix,
            (None, Some(_)) => false,
        }
    }

    /// Whether this hop, so many hops away from the peer of the connection, is a trusted proxy.
    pub(super) fn covers(&self, hop: Node, distance: usize) -> bool {
        match (self.proxies, hop) {
            (Some(proxies), _) => distance + 1 < proxies,
            (None, Node::Address(address, _)) => self.holds(address),
            (None, Node::Unix) => self.unix,
            (None, Node::Hidden) => false,
        }
    }

    /// An IPv4-mapped IPv6 address is the IPv4 address.
    fn holds(&self, address: IpAddr) -> bool {
        self.nets.iter().any(|net| net.contains(address))
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
    fn an_ipv4_address_in_ipv6_clothes_is_the_same_address() {
        let trust = Trust::new(vec![peer("10.0.0.0/8").unwrap()]);
        assert!(trust.holds("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!trust.holds("::ffff:11.1.2.3".parse().unwrap()));
    }
}
