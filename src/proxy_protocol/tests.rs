//! Headers as proxies send them, and as nobody should.

use proptest::prelude::*;

use super::crc32c::crc32c;
use super::*;

fn header(octets: &[u8]) -> Header {
    match parse(octets) {
        Ok(Parsed::Complete(header, length)) => {
            assert_eq!(length, octets.len());
            header
        }
        other => panic!("{other:?}: {octets:?}"),
    }
}

fn ip(client: &str, server: &str) -> Header {
    Header::Ip { client: client.parse().unwrap(), server: server.parse().unwrap() }
}

/// A header of version 2 with this command, family and rest.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, rest].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xbb];

fn with_checksum(command: u8, family: u8, addresses: &[u8], change: u32) -> Vec<u8> {
    let mut header = binary(command, family, &[addresses, &[4, 0, 2, 9, 9, 3, 0, 4, 0, 0, 0, 0, 4, 0, 0]].concat());
    let at = header.len() - 7;
    let checksum = crc32c([&header]) ^ change;
    header[at..at + 4].copy_from_slice(&checksum.to_be_bytes());
    header
}

#[test]
fn lines_of_version_1_are_read() {
    assert_eq!(header(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"), ip("192.0.2.7:4711", "198.51.100.1:443"));
    assert_eq!(header(b"PROXY TCP6 2001:db8::7 ::ffff:1.2.3.4 0 65535\r\n"), ip("[2001:db8::7]:0", "[::ffff:1.2.3.4]:65535"));
    for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff:f...f:ffff what ever 1 2\r\n"] {
        assert_eq!(header(line.as_bytes()), Header::Local);
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!((longest.len(), header(longest.as_bytes())), (107, Header::Local));
}

#[test]
fn malformed_lines_are_refused() {
    for line in [
        "PROXY TCP4 192.0.2.700 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +80 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 080 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 -2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP4\t192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "PROXY  UNKNOWN\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\r\n",
        "PROXY UNKNOWN \u{fffd}\n",
    ] {
        assert!(matches!(parse(line.as_bytes()), Err(Malformed::Line(_))), "{line:?}: {:?}", parse(line.as_bytes()));
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(parse(long.as_bytes()), Err(Malformed::Line("it is longer than 107 octets")));
    assert!(matches!(parse(b"PROXY UNKNOWN \xff\r\n"), Err(Malformed::Line(_))));
}

#[test]
fn what_is_no_header_is_told_at_its_first_octet_that_differs() {
    for octets in [&b"G"[..], b"PRX", b"PROXy", b"\x16\x03\x01", b"\r\n\r\n\0\r\nQUIT\r", b"\r\nG", b"PROXYT", b"\0"] {
        assert_eq!(parse(octets), Err(Malformed::Signature), "{octets:?}");
    }
    assert_eq!(parse(b""), Ok(Parsed::Incomplete(15)));
}

#[test]
fn headers_of_version_2_are_read() {
    assert_eq!(header(&binary(0x21, 0x11, &IPV4)), ip("192.0.2.7:4711", "198.51.100.1:443"));
    let ipv6: Vec<u8> = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], [0; 16]].concat();
    assert_eq!(header(&binary(0x21, 0x21, &[&ipv6[..], &[0, 80, 1, 0xbb]].concat())), ip("[2001:db8::7]:80", "[::]:443"));
    assert_eq!(header(&binary(0x21, 0x31, &[b'x'; 216])), Header::Unix);
    assert_eq!(header(&binary(0x21, 0x00, &[])), Header::Local);
}

#[test]
fn a_local_connection_is_that_of_its_peer_whatever_else_the_header_says() {
    for (family, rest) in [(0x00, &[][..]), (0x11, &IPV4), (0x99, b"anything")] {
        assert_eq!(header(&binary(0x20, family, rest)), Header::Local);
    }
}

#[test]
fn a_checksum_is_compared_where_there_is_one() {
    assert_eq!(header(&with_checksum(0x21, 0x11, &IPV4, 0)), ip("192.0.2.7:4711", "198.51.100.1:443"));
    assert_eq!(header(&with_checksum(0x21, 0x00, &[], 0)), Header::Local);
    assert_eq!(parse(&with_checksum(0x21, 0x11, &IPV4, 1)), Err(Malformed::Binary("the checksum is wrong")));
    let twice = [&IPV4[..], &[3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0]].concat();
    assert_eq!(parse(&binary(0x21, 0x11, &twice)), Err(Malformed::Binary("it has two checksums")));
    let short = [&IPV4[..], &[3, 0, 3, 0, 0, 0]].concat();
    assert_eq!(parse(&binary(0x21, 0x11, &short)), Err(Malformed::Binary("the checksum has not 4 octets")));
}

#[test]
fn malformed_headers_of_version_2_are_refused() {
    for octets in [
        binary(0x11, 0x11, &IPV4),
        binary(0x22, 0x11, &IPV4),
        binary(0x21, 0x12, &IPV4),
        binary(0x21, 0x41, &IPV4),
        binary(0x21, 0x10, &IPV4),
        binary(0x21, 0x11, &IPV4[..11]),
        binary(0x21, 0x21, &[0; 35]),
        binary(0x21, 0x31, &[0; 215]),
        binary(0x21, 0x11, &[&IPV4[..], &[4, 0]].concat()),
        binary(0x21, 0x11, &[&IPV4[..], &[4, 0, 1]].concat()),
        binary(0x21, 0x00, &[0; 4081]),
    ] {
        assert!(matches!(parse(&octets), Err(Malformed::Binary(_))), "{octets:?}: {:?}", parse(&octets));
    }
}

#[test]
fn what_is_written_is_read_back() {
    for (client, server, read) in [
        ("192.0.2.7:4711", "198.51.100.1:443", ip("192.0.2.7:4711", "198.51.100.1:443")),
        ("[2001:db8::7]:1", "[::1]:2", ip("[2001:db8::7]:1", "[::1]:2")),
        ("192.0.2.7:1", "[::1]:2", ip("[::ffff:192.0.2.7]:1", "[::1]:2")),
    ] {
        let addresses = Some((client.parse().unwrap(), server.parse().unwrap()));
        assert_eq!((header(&v1::write(addresses)), header(&v2::write(addresses))), (read, read));
    }
    assert_eq!((header(&v1::write(None)), header(&v2::write(None))), (Header::Local, Header::Local));
}

#[test]
fn a_client_is_named_where_its_address_is_known() {
    let mut connection = ConnectionInfo {
        client: Some([192, 0, 2, 7].into()),
        client_port: Some(4711),
        scheme: ziggurat_middleware::Scheme::Https,
        server_port: Some(443),
        local: None,
        is_vetted: true,
    };
    assert_eq!(ProxyProtocol::V1.of_client(Some(&connection)), b"PROXY TCP4 192.0.2.7 0.0.0.0 4711 443\r\n");
    connection.local = Some(([198, 51, 100, 1], 8443).into());
    assert_eq!(header(&ProxyProtocol::V2.of_client(Some(&connection))), ip("192.0.2.7:4711", "198.51.100.1:8443"));
    connection.client = None;
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        for octets in [version.of_client(Some(&connection)), version.of_client(None), version.local()] {
            assert_eq!(header(&octets), Header::Local);
        }
    }
}

/// Octets near to headers.
fn near() -> impl Strategy<Value = Vec<u8>> {
    let line = "PROXY (TCP4|TCP6|UNKNOWN) ?[0-9a-f.:+ ]{0,60}\r?\n?[a-z]{0,3}".prop_map(String::into_bytes);
    let fields = (
        proptest::sample::select(vec![0x20_u8, 0x21, 0x22]),
        proptest::sample::select(vec![0_u8, 0x11, 0x21, 0x31, 0x12]),
        proptest::collection::vec(0..6_u8, 0..60),
    );
    let fields = fields.prop_map(|(command, family, rest)| binary(command, family, &rest));
    prop_oneof![line, fields, proptest::collection::vec(proptest::num::u8::ANY, 0..64)]
}

proptest! {
    #[test]
    fn any_octets_are_a_header_the_beginning_of_one_or_refused(octets in near(), more in proptest::collection::vec(proptest::num::u8::ANY, 0..8)) {
        let whole = parse(&octets);
        // Octet by octet: once refused always refused, once complete always the same, and never more is asked for than there is.
        for end in 0..=octets.len() {
            match parse(&octets[..end]) {
                Ok(Parsed::Incomplete(missing)) => {
                    prop_assert!(missing > 0);
                    if let Ok(Parsed::Complete(_, length)) = whole {
                        prop_assert!(end + missing <= length);
                    }
                }
                known => prop_assert_eq!(known, whole),
            }
        }
        if let Ok(Parsed::Complete(_, length)) = whole {
            prop_assert!(length <= octets.len() && length <= LONGEST);
            prop_assert_eq!(parse(&[&octets[..length], &more].concat()), whole);
        }
    }

    #[test]
    fn any_addresses_survive_both_versions(client: (u128, u16), server: (u128, u16), is_ipv4: bool) {
        let at = |(ip, port): (u128, u16)| if is_ipv4 { SocketAddr::from((std::net::Ipv4Addr::from(ip as u32), port)) } else { SocketAddr::from((std::net::Ipv6Addr::from(ip), port)) };
        let (client, server) = (at(client), at(server));
        let expected = Header::Ip { client, server };
        prop_assert_eq!(header(&v1::write(Some((client, server)))), expected);
        prop_assert_eq!(header(&v2::write(Some((client, server)))), expected);
    }
}
