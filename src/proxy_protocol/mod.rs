//! The header of the PROXY protocol, versions 1 and 2, read and written: octets in, a header out, no sockets.
//!
//! The protocol is that of HAProxy's `doc/proxy-protocol.txt`, to whose sections the comments refer. The crate `ppp` reads it too, but takes ports such as `+80`, compares no checksum and leaves the bounds
//! to its caller; around what is left, two fixed layouts, these checks would be the larger part.

mod crc32c;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::ConnectionInfo;

/// What a header says of the connection that the proxy has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Nothing: the connection is the proxy's own (a health check), or the proxy does not know. The peer of the connection is the client.
    Local,
    /// A client on an IP network, and the address that it has connected to.
    Ip { client: SocketAddr, server: SocketAddr },
    /// A client on a Unix socket.
    Unix,
}

/// What the octets that have arrived are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The beginning of a header. There are at least so many octets more.
    Incomplete(usize),
    /// A header of this length. What follows it is the client's.
    Complete(Header, usize),
}

/// Why octets are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// They begin otherwise: it is no header at all.
    Signature,
    /// The line of version 1 (section 2.1).
    Line(&'static str),
    /// The fields of version 2 (section 2.2).
    Binary(&'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature => f.write_str("the connection does not begin with a PROXY protocol header"),
            Self::Line(why) => write!(f, "the PROXY protocol header of version 1 is malformed: {why}"),
            Self::Binary(why) => write!(f, "the PROXY protocol header of version 2 is malformed: {why}"),
        }
    }
}

/// The longest header of version 2. Proxies are told to keep to 536 octets (section 2.2); certificates in a header take more.
pub(crate) const LONGEST: usize = 4096;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProxyProtocol {
    /// A line of text, which every server that speaks the protocol reads.
    V1,
    /// Fields of fixed size.
    V2,
}

impl ProxyProtocol {
    /// The header of a connection on which a client's request is sent on.
    pub(crate) fn of_client(self, connection: Option<&ConnectionInfo>) -> Vec<u8> {
        let addresses = connection.and_then(addresses);
        match self {
            Self::V1 => v1::write(addresses),
            Self::V2 => v2::write(addresses),
        }
    }

    /// The header of a connection of this server itself, for a health check.
    pub(crate) fn local(self) -> Vec<u8> {
        match self {
            Self::V1 => v1::write(None),
            Self::V2 => v2::LOCAL.to_vec(),
        }
    }
}

/// The address of a client, and the one that it has connected to; `None` for a client on a Unix socket, whose paths would mean nothing elsewhere.
fn addresses(connection: &ConnectionInfo) -> Option<(SocketAddr, SocketAddr)> {
    let client = SocketAddr::new(connection.client?, connection.client_port.unwrap_or_default());
    let server = connection.local.unwrap_or_else(|| {
        let any = if client.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        SocketAddr::new(any, connection.server_port.unwrap_or_default())
    });
    Some((client, server))
}

/// Reads the header at the beginning of a connection.
pub(crate) fn parse(octets: &[u8]) -> Result<Parsed, Malformed> {
    // The two begin with different octets.
    match octets.first() {
        None => Ok(Parsed::Incomplete(v1::SHORTEST)),
        Some(first) if *first == v2::SIGNATURE[0] => v2::parse(octets),
        Some(_) => v1::parse(octets),
    }
}

/// Reads octets whole, and as far as the first octet says. Panics if the results contradict each other.
#[cfg(fuzzing)]
pub fn fuzz_proxy_protocol(octets: &[u8]) {
    let Some((end, octets)) = octets.split_first() else { return };
    let begin = &octets[..octets.len().min(usize::from(*end))];
    match (parse(begin), parse(octets)) {
        (Ok(Parsed::Incomplete(missing)), Ok(Parsed::Complete(_, length))) => assert!(missing > 0 && begin.len() + missing <= length),
        (Ok(Parsed::Incomplete(_)), _) => {}
        (known, whole) => assert_eq!(known, whole),
    }
}
