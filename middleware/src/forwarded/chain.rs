//! How far the word of trusted proxies reaches.

use std::net::IpAddr;

use super::node::Node;
use super::trust::Trust;

/// The end of the chain of trusted proxies.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHop {
    /// Who spoke to the outermost trusted proxy, where any proxy on the way said so.
    pub(super) client: Option<(IpAddr, Option<u16>)>,
    /// How many hops before ours the outermost trusted proxy wrote.
    pub(super) distance: usize,
}

/// Walks from our peer outwards. Each hop was written by the one before it, so the first that is not trusted is the last to be read: what
/// lies beyond is its word, and `hops` is not asked for it.
pub(super) fn follow<E>(hops: impl Iterator<Item = Result<Node, E>>, trust: &Trust) -> Result<ClientHop, E> {
    let mut end = ClientHop::default();
    for (distance, hop) in hops.enumerate() {
        end.distance = distance;
        let trusted = match hop? {
            Node::Address(address, port) => {
                end.client = Some((address, port));
                trust.holds(address)
            }
            Node::Unix => trust.holds_unix(),
            Node::Hidden => false,
        };
        if !trusted {
            break;
        }
    }
    Ok(end)
}

/// A proxy's word for a scheme. Some write that of a WebSocket.
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
