//! Version 1: a line of text (section 2.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, Malformed, Parsed};

const PREFIX: &[u8] = b"PROXY ";

/// `PROXY UNKNOWN` and a line end.
pub(super) const SHORTEST: usize = 15;
/// With addresses and ports of one figure each.
const SHORTEST_OF: [(&[u8], usize); 2] = [(b"PROXY TCP4 ", 32), (b"PROXY TCP6 ", 22)];
/// With both addresses of IPv6 in full, and the line end.
const LONGEST: usize = 107;

pub(super) fn parse(octets: &[u8]) -> Result<Parsed, Malformed> {
    let known = octets.len().min(PREFIX.len());
    if octets[..known] != PREFIX[..known] {
        return Err(Malformed::Signature);
    }
    let line_end = octets.iter().take(LONGEST).position(|octet| *octet == b'\n');
    let Some(line_end) = line_end else {
        if octets.len() >= LONGEST {
            return Err(Malformed::Line("it is longer than 107 octets"));
        }
        // A line feed is missing, and before it a carriage return.
        let missing = if octets.last() == Some(&b'\r') { 1 } else { 2 };
        let shortest = SHORTEST_OF.iter().find(|(begin, _)| octets.starts_with(begin)).map_or(SHORTEST, |(_, shortest)| *shortest);
        return Ok(Parsed::Incomplete(shortest.saturating_sub(octets.len()).max(missing)));
    };
    let line = octets[..line_end].strip_suffix(b"\r").ok_or(Malformed::Line("it does not end with CR LF"))?;
    Ok(Parsed::Complete(header(&line[PREFIX.len().min(line.len())..])?, line_end + 1))
}

fn header(fields: &[u8]) -> Result<Header, Malformed> {
    let fields = std::str::from_utf8(fields).map_err(|_| Malformed::Line("it is not text"))?;
    let (family, rest) = fields.split_once(' ').unwrap_or((fields, ""));
    let (address, rest): (fn(&str) -> Option<IpAddr>, _) = match family {
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Ok(Header::Local),
        "TCP4" => (|text| text.parse::<Ipv4Addr>().ok().map(IpAddr::from), rest),
        "TCP6" => (|text| text.parse::<Ipv6Addr>().ok().map(IpAddr::from), rest),
        _ => return Err(Malformed::Line("the family is none of TCP4, TCP6 and UNKNOWN")),
    };
    let mut fields = rest.split(' ');
    let mut next = || fields.next().unwrap_or_default();
    let no_address = Malformed::Line("an address is not one of the family");
    let client = address(next()).ok_or(no_address)?;
    let server = address(next()).ok_or(no_address)?;
    let client_port = port(next())?;
    let server_port = port(next())?;
    match fields.next() {
        None => Ok(Header::Ip { client: SocketAddr::new(client, client_port), server: SocketAddr::new(server, server_port) }),
        Some(_) => Err(Malformed::Line("something follows the ports")),
    }
}

/// Digits alone, without zeros in front: `str::parse` takes `+80` and `080`.
fn port(text: &str) -> Result<u16, Malformed> {
    let port: Option<u16> = text.parse().ok().filter(|port: &u16| port.to_string() == text);
    port.ok_or(Malformed::Line("a port is not a number from 0 to 65535"))
}

/// The header of a client's connection; `None` if the addresses are not known.
pub(super) fn write(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let line = match addresses.map(super::v2::same_family) {
        None => "PROXY UNKNOWN\r\n".to_owned(),
        Some((client, server)) => {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {} {} {} {}\r\n", client.ip(), server.ip(), client.port(), server.port())
        }
    };
    line.into_bytes()
}
