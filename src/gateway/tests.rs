//! Messages as peers send them, and as nobody should; the properties of all codecs.

use bytes::{Bytes, BytesMut};
use http::header::HeaderMap;
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use proptest::prelude::*;
use ziggurat_middleware::{ClientCertificate, ConnectionInfo, Mount, RemoteUser, RequestId, Scheme, TlsInfo};

use super::testing::variables;
use super::*;
use crate::cgi::{Invalid, from_request};

const MOST: usize = 1 << 16;

fn read(pairs: &[(&'static str, &'static str)]) -> Result<Parts, Invalid> {
    read_request(&variables(pairs))
}

const GET: [(&str, &str); 2] = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/")];

fn with(more: &[(&'static str, &'static str)]) -> Result<Parts, Invalid> {
    read(&[&GET[..], more].concat())
}

fn info(parts: &Parts) -> &ConnectionInfo {
    parts.extensions.get().unwrap()
}

#[test]
fn alternative_names_of_a_clients_certificate_have_a_variable_each() {
    let ann = ClientCertificate {
        emails: vec!["a@a.test".into(), "b@a.test".into()],
        uris: vec!["urn:a".into()],
        ..ClientCertificate::default()
    };
    let tls =
        TlsInfo { protocol: "TLSv1.3".into(), cipher: "x".into(), server_name: None, is_resumed: false, client: Some(ann.clone().into()) };
    let mut parts = with(&[]).unwrap();
    parts.extensions.insert(tls);
    let mut variables = Variables::default();
    from_request(&parts, None, &mut variables);
    assert_eq!(variables.get("SSL_CLIENT_SAN_Email_1").unwrap(), b"b@a.test");
    assert!(["SSL_CLIENT_SAN_Email", "SSL_CLIENT_SAN_Email_2", "SSL_CLIENT_SAN_DNS_0"].iter().all(|name| variables.get(name).is_none()));
    let parts = read_request(&variables).unwrap();
    assert_eq!(*parts.extensions.get::<TlsInfo>().unwrap().client.clone().unwrap(), ann);
}

#[test]
fn a_request_of_nginx_has_its_client_its_scheme_and_its_user() {
    let parts = read(&[
        ("QUERY_STRING", "a=%20"),
        ("REQUEST_METHOD", "POST"),
        ("CONTENT_TYPE", "text/plain"),
        ("CONTENT_LENGTH", "3"),
        ("REQUEST_URI", "/a%20b?a=%20"),
        ("PATH_INFO", "/a b"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_SCHEME", "https"),
        ("HTTPS", "on"),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_PORT", "4711"),
        ("SERVER_PORT", "443"),
        ("SERVER_NAME", "_"),
        ("REMOTE_USER", "ann"),
        ("AUTH_TYPE", "Basic"),
        ("HTTP_HOST", "site.test"),
        ("HTTP_X_FOO", "1"),
    ])
    .unwrap();
    assert_eq!((parts.method.as_str(), parts.uri.to_string().as_str()), ("POST", "/a%20b?a=%20"));
    let info = info(&parts);
    assert_eq!((info.client, info.client_port, info.scheme), (Some([192, 0, 2, 7].into()), Some(4711), Scheme::Https));
    assert!(!info.is_vetted);
    let user = parts.extensions.get::<RemoteUser>().unwrap();
    assert_eq!((&*user.user, &*user.auth_type), ("ann", "Basic"));
    let header = |name: &str| parts.headers[name].to_str().unwrap();
    assert_eq!([header("host"), header("x-foo"), header("content-type"), header("content-length")], ["site.test", "1", "text/plain", "3"]);
}

#[test]
fn a_path_that_is_not_split_is_the_path() {
    let path = |pairs: &[(&'static str, &'static str)]| {
        let parts = read(&[&GET[..1], pairs].concat()).unwrap();
        (parts.extensions.get::<Mount>().map(|mount| mount.prefix.to_string()).unwrap_or_default(), parts.uri.to_string())
    };
    let no_mount = |path: &str| (String::new(), path.to_owned());
    // fastcgi_params of nginx, scgi_params of nginx, and a URL as the target.
    assert_eq!(path(&[("SCRIPT_NAME", "/a b"), ("REQUEST_URI", "/a%20b?x"), ("QUERY_STRING", "x")]), no_mount("/a%20b?x"));
    assert_eq!(path(&[("REQUEST_URI", "/a%2fb?x=1"), ("DOCUMENT_URI", "/a/b")]), no_mount("/a%2fb?x=1"));
    assert_eq!(path(&[("REQUEST_URI", "http://h/p?q")]), no_mount("/p?q"));
    let below = [("SCRIPT_NAME", "/shop"), ("PATH_INFO", "/cart"), ("REQUEST_URI", "/shop/cart")];
    assert_eq!(path(&below), ("/shop".to_owned(), "/cart".to_owned()));
    assert_eq!(path(&[("SCRIPT_NAME", "/shop"), ("PATH_INFO", ""), ("REQUEST_URI", "/shop")]).0, "/shop");
    // The root is no mount, and a slash between mount and path is one.
    for (script, path_info) in [("/", "/cart"), ("/", "cart"), ("//", "/cart")] {
        assert_eq!(path(&[("SCRIPT_NAME", script), ("PATH_INFO", path_info), ("REQUEST_URI", "/cart")]), no_mount("/cart"));
    }
    assert_eq!(path(&[("SCRIPT_NAME", "/"), ("PATH_INFO", "")]), no_mount("/"));
    for (script, path_info) in [("/shop/", "/cart"), ("/shop/", "cart"), ("/shop//", "/cart")] {
        assert_eq!(path(&[("SCRIPT_NAME", script), ("PATH_INFO", path_info)]), ("/shop".to_owned(), "/cart".to_owned()));
    }
    assert!(read(&[GET[0], ("SCRIPT_NAME", "shop"), ("PATH_INFO", "/cart")]).is_err());
    // What was decoded once is not decoded again.
    assert_eq!(path(&[("PATH_INFO", "/%2e%2e/x")]), no_mount("/%252e%252e/x"));
    assert_eq!(path(&[("PATH_INFO", "/a\r\nb")]), no_mount("/a%0D%0Ab"));
}

#[test]
fn names_of_wsgi_uwsgi_and_proxies_say_nothing() {
    let parts = with(&[
        ("wsgi.url_scheme", "https"),
        ("ziggurat.request_id", "forged"),
        ("UWSGI_FILE", "/etc/passwd"),
        ("HTTP_PROXY", "http://evil"),
        ("HTTP_TRANSFER_ENCODING", "chunked"),
        ("HTTP_CONTENT_LENGTH", "7"),
        ("HTTP_X-FOO", "shadow"),
        ("HTTP_X_FOO", "1"),
        ("HTTP_CONNECTION", "x-secret"),
        ("HTTP_EXPECT", "100-continue"),
    ])
    .unwrap();
    assert_eq!(info(&parts).scheme, Scheme::Http);
    assert!(parts.extensions.get::<RequestId>().is_none());
    let mut names: Vec<&str> = parts.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["connection", "x-foo"]);
    assert_eq!(parts.headers["x-foo"], "1");
}

#[test]
fn a_client_that_is_not_named_is_not_one_on_a_unix_socket() {
    let unix = ziggurat_middleware::Peer::Unix;
    for (address, is_unix) in [("unix:", true), ("", false), ("nobody", false), ("192.0.2.1", false)] {
        assert_eq!(unix.sent(info(&with(&[("REMOTE_ADDR", address)]).unwrap())), is_unix, "{address}");
    }
    assert!(!unix.sent(info(&with(&[]).unwrap())));
}

#[test]
fn headers_that_are_repeated_are_joined_and_settings_that_are_repeated_hold_last() {
    let parts = with(&[
        ("HTTP_ACCEPT", "a"),
        ("HTTP_ACCEPT", "b"),
        ("HTTP_COOKIE", "a=1"),
        ("HTTP_COOKIE", "b=2"),
        ("HTTPS", ""),
        ("HTTPS", "on"),
        ("SERVER_NAME", "a.test"),
        ("SERVER_PORT", "444"),
    ])
    .unwrap();
    assert_eq!((&parts.headers["accept"], &parts.headers["cookie"]), (&"a, b".parse().unwrap(), &"a=1; b=2".parse().unwrap()));
    assert_eq!((info(&parts).scheme, &parts.headers["host"]), (Scheme::Https, &"a.test:444".parse().unwrap()));
}

#[test]
fn variables_that_no_request_can_have_are_refused_by_name() {
    for (more, said) in [
        (&[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "1")][..], "`CONTENT_LENGTH` stands there twice"),
        (&[("CONTENT_LENGTH", "-1")], "`CONTENT_LENGTH` is not a length"),
        (&[("CONTENT_LENGTH", "1 1")], "`CONTENT_LENGTH` is not a length"),
        (&[("HTTP_HOST", "a"), ("HTTP_HOST", "b")], "`HTTP_HOST` stands there twice"),
        (&[("HTTP_X", "a\r\nb: c")], "`HTTP_X` is not the value of a header"),
        (&[("HTTP_X", "a\0")], "`HTTP_X` has a NUL"),
        (&[("X\nY", "")], "is not the name of a variable"),
        (&[("REMOTE_USER", "a\nb")], "`REMOTE_USER` has a control character"),
        (&[("REQUEST_METHOD", "G T")], "`REQUEST_METHOD` is not a method"),
        (&[("REQUEST_METHOD", "")], "`REQUEST_METHOD` is missing"),
    ] {
        let error = with(more).unwrap_err().to_string();
        assert!(error.contains(said), "{more:?}: {error}");
    }
    assert!(read(&GET[..1]).unwrap_err().to_string().contains("`PATH_INFO` is missing"));
}

#[test]
fn a_netstring_is_one_number_its_octets_and_a_comma() {
    let request = b"70:CONTENT_LENGTH\x0027\0SCGI\x001\0REQUEST_METHOD\0POST\0REQUEST_URI\0/deepthought\0,What is";
    let mut octets = BytesMut::from(&request[..]);
    let parsed = scgi::take(&mut octets, MOST).unwrap().unwrap();
    assert_eq!((parsed.get("REQUEST_URI").unwrap(), &*octets), (&b"/deepthought"[..], &b"What is"[..]));
    for (broken, said) in [
        (&b"07:SCGI\x001\0,"[..], "length of a netstring"),
        (b"-1:,", "length of a netstring"),
        (b"1234567890", "length of a netstring"),
        (b"GET / HTTP/1.1\r\n", "length of a netstring"),
        (b":,", "length of a netstring"),
        (b"99999999:", "too long"),
        (b"7:SCGI\x001\0;", "comma"),
        (b"7:SCGI\x001\0,", "first variable"),
        (b"17:CONTENT_LENGTH\x000\0,", "`SCGI`"),
        (b"18:CONTENT_LENGTH\x000\0x,", "no NUL"),
        (b"34:CONTENT_LENGTH\x000\0CONTENT_LENGTH\x001\0,", "twice"),
    ] {
        let error = scgi::take(&mut BytesMut::from(broken), MOST).unwrap_err();
        assert!(error.reason().contains(said), "{}: {error}", broken.escape_ascii());
    }
}

#[test]
fn a_uwsgi_packet_holds_its_variables_and_no_more() {
    let packet = |length: u8, rest: &[u8]| BytesMut::from(&[&[0, length, 0, 0], rest].concat()[..]);
    assert_eq!(uwsgi::take(&mut packet(6, b"\x01\0a\x01\0b"), MOST).unwrap().unwrap().variables, variables(&[("a", "b")]));
    assert!(uwsgi::take(&mut packet(7, b"\x01\0a\x01\0b"), MOST).unwrap().is_none());
    for broken in [packet(6, b"\x01\0a\x02\0b"), packet(5, b"\x01\0a\x01\0b"), packet(3, b"\x01\0a\x01"), packet(1, b"\x01")] {
        assert!(matches!(uwsgi::take(&mut broken.clone(), MOST), Err(Malformed::Syntax(_))), "{broken:?}");
    }
    assert!(matches!(uwsgi::take(&mut packet(200, b""), 100), Err(Malformed::TooLarge(_))));
    let long: Variables = [(Bytes::from_static(b"a"), Bytes::from(vec![0; MOST]))].into_iter().collect();
    assert!(uwsgi::write(&uwsgi::Packet { modifier1: 0, modifier2: 0, variables: long }).is_err());
}

#[test]
fn records_of_another_version_and_pairs_that_are_cut_are_malformed() {
    assert!(fastcgi::Record::take(&mut BytesMut::from(&b"\x02"[..])).is_err());
    assert!(fastcgi::Record::take(&mut BytesMut::from(&b"\x01\x05\0\x01\0\x02\x01\0ab"[..])).unwrap().is_none());
    let mut octets = BytesMut::from(&b"\x01\x05\0\x01\0\x02\x01\0ab-rest"[..]);
    let record = fastcgi::Record::take(&mut octets).unwrap().unwrap();
    assert_eq!((record.kind, record.id, &*record.content, &*octets), (fastcgi::Kind::STDIN, 1, &b"ab"[..], &b"rest"[..]));
    let pairs = |octets: &'static [u8]| fastcgi::pairs::read(octets);
    assert_eq!(pairs(b"\x01\x80\0\0\x01ab").unwrap(), variables(&[("a", "b")]));
    for broken in [&b"\x01"[..], b"\x01\x02ab", b"\x80\0\0", b"\xff\xff\xff\xff\xff\xff\xff\xffab", b"\x01\x01a"] {
        assert!(pairs(broken).is_err(), "{broken:?}");
    }
    let long: Variables = [(Bytes::from_static(b"a"), Bytes::from(vec![7; 200_000]))].into_iter().collect();
    let mut stream = BytesMut::new();
    fastcgi::begin(1, &long, &mut stream);
    let (records, _) = in_pieces(&stream, 1000, fastcgi::Record::take);
    let content: Vec<u8> = records[1..].iter().flat_map(|record| record.content.to_vec()).collect();
    assert_eq!((records.len(), fastcgi::pairs::read(&content).unwrap()), (6, long));
    assert!(fastcgi::Begin::read(&[0, 1, 1]).is_err());
    assert!(fastcgi::Begin::read(&[0, 1, 1, 0, 0, 0, 0, 0, 0]).is_err());
    assert!(fastcgi::End::read(&[0, 0, 0, 0, 4, 0, 0, 0]).is_err());
}

#[test]
fn a_response_head_has_a_status_a_type_or_a_place() {
    let head = |text: &str| ResponseHead::take(&mut BytesMut::from(text.as_bytes()), 200).map(|head| head.map(|head| head.status.as_u16()));
    assert_eq!(head("Content-Type: text/plain\n\nbody"), Ok(Some(200)));
    assert_eq!(head("Status: 404 Not Found\r\nContent-Type: a/b\r\n\r\n"), Ok(Some(404)));
    assert_eq!(head("status: 201\n\n"), Ok(Some(201)));
    assert_eq!(head("Location: /there\r\n\r\n"), Ok(Some(302)));
    assert_eq!(head("HTTP/1.1 301 Moved\r\nLocation: /there\r\n\r\n"), Ok(Some(301)));
    assert_eq!(head("Content-Type: text/plain\r\n"), Ok(None));
    for broken in [
        "\n\n",
        "X-Foo: 1\n\n",
        "no colon\n\n",
        " Content-Type: a/b\n\n",
        "Content-Type: a/b\n continued\n\n",
        "Content-Type : a/b\n\n",
        "Content-Type: a\rb\n\n",
        "Status: 100\n\n",
        "Status: 1000\n\n",
        "Status: ok\n\n",
        "Status: 200\nStatus: 200\n\n",
        "HTTP/1.1 200 OK\nStatus: 404\n\n",
        "HTTP/1.1\n\n",
        "HTTP/1.1 200 OK\nHTTP/1.1 200 OK\n\n",
        "Status: 200\nContent-Length: 1\nContent-Length: 1\n\n",
        "Status: 200\nContent-Length: +1\n\n",
        "Status: 200\nContent-Length: 99999999999999999999\n\n",
    ] {
        assert!(matches!(head(broken), Err(Malformed::Syntax(_))), "{broken:?}: {:?}", head(broken));
    }
    assert!(matches!(head(&"x".repeat(300)), Err(Malformed::TooLarge(_))));
    assert!(matches!(head(&format!("Status: 200\nX: {}\n\n", "x".repeat(200))), Err(Malformed::TooLarge(_))));
}

/// All messages in `octets`, which come in pieces of this size.
fn in_pieces<T>(octets: &[u8], size: usize, mut take: impl FnMut(&mut BytesMut) -> Result<Option<T>, Malformed>) -> (Vec<T>, BytesMut) {
    let (mut held, mut found) = (BytesMut::new(), Vec::new());
    for piece in octets.chunks(size) {
        held.extend_from_slice(piece);
        while let Some(message) = take(&mut held).unwrap() {
            found.push(message);
        }
    }
    (found, held)
}

fn any_variables(most: usize) -> impl Strategy<Value = Variables> {
    let text = move |most| prop::collection::vec(1..=255_u8, 0..most).prop_map(Bytes::from);
    prop::collection::vec((text(200), text(most)), 0..8).prop_map(|pairs| pairs.into_iter().collect())
}

proptest! {
    #[test]
    fn a_uwsgi_packet_is_read_as_it_was_written(variables in any_variables(400), modifier1: u8, modifier2: u8, size in 1..600_usize) {
        let packet = uwsgi::Packet { modifier1, modifier2, variables };
        let octets = uwsgi::write(&packet).unwrap();
        let mut left = BytesMut::from(&[&octets[..], b"body"].concat()[..]);
        prop_assert_eq!(uwsgi::take(&mut left, MOST).unwrap(), Some(packet.clone()));
        prop_assert_eq!(&left[..], b"body");
        let (read, left) = in_pieces(&octets, size, |held| uwsgi::take(held, MOST));
        prop_assert_eq!((read, left.len()), (vec![packet], 0));
    }

    #[test]
    fn an_scgi_request_is_read_as_it_was_written(variables in any_variables(400), length: u64, size in 1..600_usize) {
        let octets = scgi::write(&variables, length).unwrap();
        let (read, left) = in_pieces(&octets, size, |held| scgi::take(held, MOST));
        prop_assert_eq!((read.len(), left.len()), (1, 0));
        let length = length.to_string();
        prop_assert_eq!(read[0].get("CONTENT_LENGTH"), Some(length.as_bytes()));
        prop_assert_eq!(read[0].get("SCGI"), Some(&b"1"[..]));
        let others: Variables = read[0].iter().skip(2).collect();
        prop_assert_eq!(others, variables);
    }

    #[test]
    fn a_fastcgi_stream_is_read_as_it_was_written(variables in any_variables(2_000), id: u16, size in 1..3_000_usize) {
        let mut octets = BytesMut::new();
        fastcgi::begin(id, &variables, &mut octets);
        let (records, left) = in_pieces(&octets, size, fastcgi::Record::take);
        prop_assert!(left.is_empty() && octets.len().is_multiple_of(8));
        prop_assert!(records.iter().all(|record| record.id == id));
        let (first, rest) = records.split_first().unwrap();
        let begin = fastcgi::Begin { role: fastcgi::RESPONDER, keeps_connection: false };
        prop_assert_eq!((first.kind, fastcgi::Begin::read(&first.content)), (fastcgi::Kind::BEGIN_REQUEST, Ok(begin)));
        let (last, params) = rest.split_last().unwrap();
        prop_assert!(last.content.is_empty() && params.iter().all(|record| !record.content.is_empty()));
        let stream: Vec<u8> = params.iter().flat_map(|record| record.content.to_vec()).collect();
        prop_assert_eq!(fastcgi::pairs::read(&stream).unwrap(), variables);
    }

    #[test]
    fn a_response_head_is_read_as_it_was_written(status in 200..600_u16, values in prop::collection::vec("[!-~]([ -~]{0,20}[!-~])?", 0..5), is_line: bool) {
        let status = StatusCode::from_u16(status).unwrap();
        let headers: HeaderMap = values.iter().map(|value| (http::header::SET_COOKIE, value.parse().unwrap())).collect();
        let mut octets = BytesMut::new();
        ResponseHead::write(if is_line { StatusForm::Line } else { StatusForm::Field }, status, &headers, &mut octets);
        octets.extend_from_slice(b"\n\nbody");
        prop_assert_eq!(ResponseHead::take(&mut octets, MOST).unwrap(), Some(ResponseHead { status, headers }));
        prop_assert_eq!(&octets[..], b"\n\nbody");
    }

    #[test]
    fn any_octets_are_read_or_refused_in_pieces_as_in_whole(octets in prop::collection::vec(prop_oneof![any::<u8>(), 0..4_u8], 0..200)) {
        fuzz::fuzz_gateway(&octets);
    }

    #[test]
    fn any_records_of_an_app_are_read_or_refused_in_pieces_as_in_whole(
        size: u8,
        head in prop_oneof!["Status: 200\n\n[a-z]{0,9}", "[a-z:\n]{0,9}"],
        records in prop::collection::vec((prop_oneof![Just(6), Just(6), Just(7), Just(3), 0..12_u8], 0..8_u16, prop::collection::vec(0..4_u8, 0..12)), 0..8),
    ) {
        let mut octets = BytesMut::from(&[size][..]);
        fastcgi::write_stream(fastcgi::Kind::STDOUT, 1, head.as_bytes(), &mut octets);
        for (kind, id, content) in records {
            let content = if kind == 3 { vec![0; 8] } else { content };
            // Nearly all are of the request.
            fastcgi::Record { kind: fastcgi::Kind(kind), id: if id < 2 { id } else { 1 }, content: content.into() }.write(&mut octets);
        }
        fuzz::fuzz_gateway(&octets);
    }

    #[test]
    fn a_request_survives_its_way_through_variables(path in "/([a-z %/]|é){0,20}", prefix in prop_oneof![Just(""), Just("/shop")], query in "[a-z=&%]{0,10}", is_https: bool) {
        let encoded: String = percent_encoding::utf8_percent_encode(&path, percent_encoding::NON_ALPHANUMERIC).to_string().replace("%2F", "/");
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let uri: Uri = format!("{encoded}{query}").parse().unwrap();
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = Method::PUT;
        parts.headers.insert("host", "site.test".parse().unwrap());
        parts.headers.insert("x-foo", "1, 2".parse().unwrap());
        let scheme = if is_https { Scheme::Https } else { Scheme::Http };
        parts.extensions.insert(ConnectionInfo { client: Some([192, 0, 2, 1].into()), client_port: Some(1), scheme, server_port: Some(81), local: None, is_vetted: false });
        if !prefix.is_empty() {
            parts.extensions.insert(Mount { prefix: prefix.into(), target: format!("{prefix}{encoded}{query}").parse().unwrap() });
        }
        parts.uri = uri;
        let mut sent = Variables::default();
        from_request(&parts, Some(5), &mut sent);
        let read = read_request(&sent).unwrap();
        prop_assert_eq!((&read.method, &read.uri), (&parts.method, &parts.uri));
        prop_assert_eq!(read.extensions.get::<Mount>().map(|mount| mount.prefix.to_string()).unwrap_or_default(), prefix);
        prop_assert_eq!((info(&read).scheme, info(&read).client, &read.headers["x-foo"]), (scheme, Some([192, 0, 2, 1].into()), &parts.headers["x-foo"]));
        prop_assert_eq!(&read.headers["content-length"], "5");
    }
}
