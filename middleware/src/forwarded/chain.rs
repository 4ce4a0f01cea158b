//! Finds the client in the list of hops that proxies wrote.

use std::net::IpAddr;

use super::node::Node;
use super::trust::Trust;

/// The hop of the client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHop {
    /// The client's address and port, if a proxy names them.
    pub(super) client: Option<(IpAddr, Option<u16>)>,
    /// How many hops lie between the client's and this server.
    pub(super) distance: usize,
}

/// Follows the hops from the nearest proxy outward, up to the first that is not trusted. Each hop was written by the one before it, so everything beyond that
/// comes from the client and is not read.
pub(super) fn follow<E>(hops: impl Iterator<Item = Result<Node, E>>, trust: &Trust) -> Result<ClientHop, E> {
    let mut end = ClientHop::default();
    for (distance, hop) in hops.enumerate() {
        end.distance = distance;
        let hop = hop?;
        if let Node::Address(address, port) = hop {
            end.client = Some((address, port));
        }
        if !trust.covers(hop, distance) {
            break;
        }
    }
    Ok(end)
}

/// The scheme that a proxy names. Some proxies write that of a WebSocket.
pub(super) fn scheme(octets: &[u8]) -> Option<crate::Scheme> {
    let is = |word: &str| octets.eq_ignore_ascii_case(word.as_bytes());
    if is("https") || is("wss") {
        Some(crate::Scheme::Https)
    } else if is("http") || is("ws") {
        Some(crate::Scheme::Http)
    } else {
        None
    }
}
