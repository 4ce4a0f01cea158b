//! Version 2: fields of fixed size (section 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc32c::crc32c;
use super::{Header, LONGEST, Malformed, Parsed};

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family and transport, and the length of the rest.
const FIXED: usize = 16;

/// The type of the field that holds a checksum (section 2.2.3).
const CRC32C: u8 = 3;

pub(super) fn parse(octets: &[u8]) -> Result<Parsed, Malformed> {
    let known = octets.len().min(SIGNATURE.len());
    if octets[..known] != SIGNATURE[..known] {
        return Err(Malformed::Signature);
    }
    if octets.get(12).is_some_and(|version| version >> 4 != 2) {
        return Err(Malformed::Binary("the version is not 2"));
    }
    let Some((fixed, rest)) = octets.split_first_chunk::<FIXED>() else { return Ok(Parsed::Incomplete(FIXED - octets.len())) };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED + length > LONGEST {
        return Err(Malformed::Binary("it is longer than 4096 octets"));
    }
    let Some(rest) = rest.get(..length) else { return Ok(Parsed::Incomplete(length - rest.len())) };
    let header = match fixed[12] & 0xf {
        // LOCAL: addresses and fields are to be ignored.
        0 => Header::Local,
        1 => {
            let (header, fields) = header(fixed[13], rest)?;
            check(&octets[..FIXED + length], fields)?;
            header
        }
        _ => return Err(Malformed::Binary("the command is neither LOCAL nor PROXY")),
    };
    Ok(Parsed::Complete(header, FIXED + length))
}

/// The addresses, and the fields behind them.
fn header(family: u8, rest: &[u8]) -> Result<(Header, &[u8]), Malformed> {
    const SHORT: Malformed = Malformed::Binary("it is too short for the addresses of its family");
    match family {
        0x00 => Ok((Header::Local, rest)),
        0x11 => {
            let ([a @ .., c1, c2, s1, s2], fields) = rest.split_first_chunk::<12>().ok_or(SHORT)?;
            let [client, server] = [[a[0], a[1], a[2], a[3]], [a[4], a[5], a[6], a[7]]].map(|ip| IpAddr::from(Ipv4Addr::from(ip)));
            Ok((ip(client, [*c1, *c2], server, [*s1, *s2]), fields))
        }
        0x21 => {
            let (client, fields) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (server, fields) = fields.split_first_chunk::<16>().ok_or(SHORT)?;
            let ([c1, c2, s1, s2], fields) = fields.split_first_chunk::<4>().ok_or(SHORT)?;
            let [client, server] = [client, server].map(|ip| IpAddr::from(Ipv6Addr::from(*ip)));
            Ok((ip(client, [*c1, *c2], server, [*s1, *s2]), fields))
        }
        // Two paths of 108 octets, which name nothing on this machine.
        0x31 => rest.get(216..).map(|fields| (Header::Unix, fields)).ok_or(SHORT),
        _ => Err(Malformed::Binary("the family and the transport are not those of a stream over IPv4, IPv6 or a Unix socket")),
    }
}

fn ip(client: IpAddr, client_port: [u8; 2], server: IpAddr, server_port: [u8; 2]) -> Header {
    let at = |ip, port| SocketAddr::new(ip, u16::from_be_bytes(port));
    Header::Ip { client: at(client, client_port), server: at(server, server_port) }
}

/// Checks the fields of variable length (section 2.2.7), and the checksum of the whole header if there is one.
fn check(header: &[u8], mut fields: &[u8]) -> Result<(), Malformed> {
    const CUT: Malformed = Malformed::Binary("a field is longer than the header");
    let mut checksum = None;
    while !fields.is_empty() {
        let ([kind, high, low], rest) = fields.split_first_chunk::<3>().ok_or(CUT)?;
        let (value, rest) = rest.split_at_checked(u16::from_be_bytes([*high, *low]).into()).ok_or(CUT)?;
        if *kind == CRC32C {
            let at = header.len() - rest.len() - value.len();
            let value: [u8; 4] = value.try_into().map_err(|_| Malformed::Binary("the checksum has not 4 octets"))?;
            if checksum.replace((at, u32::from_be_bytes(value))).is_some() {
                return Err(Malformed::Binary("it has two checksums"));
            }
        }
        fields = rest;
    }
    match checksum {
        // It is calculated as if it were zero itself.
        Some((at, checksum)) if crc32c([&header[..at], &[0; 4], &header[at + 4..]]) != checksum => {
            Err(Malformed::Binary("the checksum is wrong"))
        }
        _ => Ok(()),
    }
}

/// The header of a connection that is not a client's.
pub(super) const LOCAL: &[u8; FIXED] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// The header of a client's connection; `None` if the addresses are not known.
pub(super) fn write(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    // PROXY, also where the addresses are not known: the connection is a client's.
    header.push(0x21);
    let (family, octets) = match addresses.map(same_family) {
        None => (0x00, Vec::new()),
        Some((client, server)) => {
            let family = if client.is_ipv4() { 0x11 } else { 0x21 };
            let mut octets = Vec::with_capacity(36);
            for ip in [client.ip(), server.ip()] {
                match ip {
                    IpAddr::V4(ip) => octets.extend(ip.octets()),
                    IpAddr::V6(ip) => octets.extend(ip.octets()),
                }
            }
            octets.extend([client.port(), server.port()].map(u16::to_be_bytes).concat());
            (family, octets)
        }
    };
    header.extend([family, 0, octets.len() as u8]);
    header.extend(octets);
    header
}

/// A header has one family. Where the addresses are of both, that of IPv4 is written as IPv6 (RFC 4291 section 2.5.5.2).
pub(super) fn same_family((client, server): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    if client.is_ipv4() == server.is_ipv4() { (client, server) } else { (mapped(client), mapped(server)) }
}
