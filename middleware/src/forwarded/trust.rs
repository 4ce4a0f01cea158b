//! Which peers are trusted.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::node::Node;
use crate::{ConnectionInfo, Peer};

/// The trusted peers.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    peers: Arc<[Peer]>,
    /// So many proxies are in front, whatever their addresses are.
    proxies: Option<usize>,
}

impl Trust {
    pub(super) fn new(peers: Vec<Peer>) -> Self {
        Self { peers: peers.into(), proxies: None }
    }

    /// Trusts the peer of every connection, and the proxies before it up to this number.
    pub(super) fn in_front(proxies: NonZeroUsize) -> Self {
        Self { peers: Arc::default(), proxies: Some(proxies.get()) }
    }

    /// Whether the peer of the connection is a trusted proxy.
    pub(super) fn sent(&self, connection: &ConnectionInfo) -> bool {
        self.proxies.is_some() || self.peers.iter().any(|peer| peer.sent(connection))
    }

    /// Whether this hop, so many hops away from the peer of the connection, is a trusted proxy.
    pub(super) fn covers(&self, hop: Node, distance: usize) -> bool {
        match (self.proxies, hop) {
            (Some(proxies), _) => distance + 1 < proxies,
            (None, Node::Address(address, _)) => self.holds(Some(address)),
            (None, Node::Unix) => self.holds(None),
            (None, Node::Hidden) => false,
        }
    }

    fn holds(&self, address: Option<IpAddr>) -> bool {
        self.peers.iter().any(|peer| peer.is(address))
    }
}
