//! Octets that no sound front server sends, and variables that it has from its client: none of them is more than a request says.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use crate::front::{GET, Pairs, begin, connect, fastcgi, netstring, padded, read_record, read_response, record, scgi, uwsgi};
use crate::listen::{PROTOCOLS, site, socket};
use crate::support::Program;

/// A request in this protocol.
fn request(protocol: &str, pairs: Pairs<'_>, body: &[u8]) -> Vec<u8> {
    match protocol {
        "fastcgi" => fastcgi(1, false, pairs, body),
        "uwsgi" => uwsgi(pairs, body),
        _ => scgi(pairs, body),
    }
}

/// Sends these octets. What comes back, without the records of FastCGI.
fn answer(program: &Program, protocol: &str, octets: &[u8]) -> String {
    let mut stream = connect(&socket(program, protocol));
    // The program may have refused them by now.
    let _ = stream.write_all(octets);
    read_answer(&mut stream, protocol)
}

fn read_answer(stream: &mut UnixStream, protocol: &str) -> String {
    if protocol == "fastcgi" {
        return read_response(stream, 1).0;
    }
    let mut octets = Vec::new();
    let _ = stream.read_to_end(&mut octets);
    String::from_utf8_lossy(&octets).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split_once(' ').map_or("", |(_, rest)| &rest[..3])
}

#[test]
fn nothing_but_the_variables_of_a_request_reaches_the_app() {
    let program = site("plain", "");
    let plain = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/names"), ("HTTP_HOST", "site.test"), ("REMOTE_ADDR", "203.0.113.7")];
    let hostile = [
        ("UWSGI_FILE", "/etc/passwd"),
        ("UWSGI_SCRIPT", "os"),
        ("UWSGI_MODULE", "os"),
        ("UWSGI_CALLABLE", "abort"),
        ("UWSGI_SETENV", "A=B"),
        ("UWSGI_PYHOME", "/tmp"),
        ("UWSGI_CHDIR", "/"),
        ("UWSGI_APPID", "/other"),
        ("UWSGI_TOUCH_RELOAD", "/etc/passwd"),
        ("uwsgi.node", "evil"),
        ("wsgi.input", "evil"),
        ("wsgi.errors", "evil"),
        ("wsgi.url_scheme", "gopher"),
        ("wsgi.multiprocess", "evil"),
        ("wsgi.file_wrapper", "evil"),
        ("ziggurat.request_id", "forged"),
        ("PYTHONPATH", "/tmp"),
        ("LD_PRELOAD", "/tmp/evil.so"),
        ("PATH", "/tmp"),
        ("SCRIPT_FILENAME", "/etc/passwd"),
        ("DOCUMENT_ROOT", "/etc"),
        ("HTTP_PROXY", "http://evil"),
        ("HTTP_CONTENT_LENGTH", "7"),
        ("HTTP_TRANSFER_ENCODING", "chunked"),
        ("HTTP_X-FORWARDED-FOR", "192.0.2.1"),
        ("HTTP_X_FORWARDED_FOR", "192.0.2.1"),
        ("HTTP_X_FORWARDED_PROTO", "https"),
        ("anything", "else"),
    ];
    for protocol in PROTOCOLS {
        let [expected, found] =
            [&plain[..], &[&hostile[..], &plain].concat()].map(|pairs| answer(&program, protocol, &request(protocol, pairs, b"")));
        assert!(status(&expected) == "200" && expected.contains("wsgi.input"), "{protocol}: {expected}");
        assert_eq!(found, expected, "{protocol}");
    }
}

#[test]
fn a_path_is_decoded_once() {
    let program = site("app", "");
    let get = [("REQUEST_METHOD", "GET"), ("HTTP_HOST", "site.test")];
    for protocol in PROTOCOLS {
        for pairs in [
            [&get[..], &[("PATH_INFO", "/a%20b%2fc"), ("REQUEST_URI", "/a%2520b%252fc")]].concat(),
            [&get[..], &[("PATH_INFO", "/a%20b%2fc")]].concat(),
            [&get[..], &[("REQUEST_URI", "/a%2520b%252fc")]].concat(),
        ] {
            let answer = answer(&program, protocol, &request(protocol, &pairs, b""));
            assert!(answer.contains(r#""PATH_INFO": "/a%20b%2fc""#), "{protocol} {pairs:?}: {answer}");
        }
    }
}

#[test]
fn a_value_that_no_request_has_is_refused_in_each_protocol() {
    let mut program = site("plain", "");
    let note = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/note"), ("HTTP_HOST", "site.test")];
    for protocol in PROTOCOLS {
        let refuses = |more: Pairs<'_>, body: &[u8]| {
            let pairs = [&note[..], more].concat();
            let answer = answer(&program, protocol, &request(protocol, &pairs, body));
            assert_eq!(status(&answer), "400", "{protocol} {more:?}: {answer}");
        };
        for length in ["+1", "-1", "1 1", " 1", "1,1", "0x1", "1.0", "1e0", "1\n", "\u{661}", "99999999999999999999"] {
            refuses(&[("CONTENT_LENGTH", length)], b"x");
        }
        for (name, value) in [
            ("HTTP_X", "a\r\nSet-Cookie: b"),
            ("HTTP_X", "a\nb"),
            ("HTTP_HOST", "b.test"),
            ("REMOTE_USER", "a\nb"),
            ("REQUEST_METHOD", "G T"),
            ("REQUEST_METHOD", ""),
            ("NA\nME", ""),
            ("NA=ME", ""),
            ("", "x"),
        ] {
            refuses(&[("CONTENT_LENGTH", "1"), (name, value)], b"x");
        }
        // A NUL ends a name or a value of SCGI, so the next one is in the wrong place.
        refuses(&[("CONTENT_LENGTH", "1"), ("HTTP_X", "a\0b")], b"x");
        refuses(&[("CONTENT_LENGTH", "1"), ("HTTP_\0X", "a")], b"x");
        refuses(&[("CONTENT_LENGTH", "2")], if protocol == "fastcgi" { b"x" } else { b"xyz" });
    }
    for (protocol, octets) in [
        ("fastcgi", fastcgi(1, true, &[&note[..], &[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "1")]].concat(), b"x")),
        ("uwsgi", uwsgi(&[&note[..], &[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "2")]].concat(), b"x")),
        ("scgi", netstring("CONTENT_LENGTH\x001\0SCGI\x001\0REQUEST_METHOD\0POST\0PATH_INFO\0/note\0CONTENT_LENGTH\x002\0")),
        ("scgi", netstring("REQUEST_METHOD\0POST\0CONTENT_LENGTH\x000\0SCGI\x001\0PATH_INFO\0/note\0")),
        ("scgi", netstring("CONTENT_LENGTH\x000\0SCGI\x001\0REQUEST_METHOD\0POST\0PATH_INFO\0/note")),
        ("scgi", b"026:CONTENT_LENGTH\x000\0SCGI\x001\0,".to_vec()),
        ("scgi", b"24:CONTENT_LENGTH\x000\0SCGI\x001\0;".to_vec()),
        // A name that is longer than the packet, and a packet that ends in a length.
        ("uwsgi", b"\0\x06\0\0\x01\0a\x02\0b".to_vec()),
        ("uwsgi", b"\0\x04\0\0\x01\0a\x01".to_vec()),
        ("uwsgi", b"\x05\0\0\0".to_vec()),
    ] {
        let answer = answer(&program, protocol, &octets);
        assert_eq!(status(&answer), "400", "{protocol} {}: {answer}", octets.escape_ascii());
    }
    program.wait_for_log("`CONTENT_LENGTH` is not a length");
    assert!(!program.folder().join("closed").exists(), "the app was called");
}

#[test]
fn a_request_that_is_cut_anywhere_never_reaches_the_app() {
    let program = site("plain", "");
    let note = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/note"), ("HTTP_HOST", "site.test"), ("CONTENT_LENGTH", "10")];
    for protocol in PROTOCOLS {
        let whole = request(protocol, &note, b"0123456789");
        for end in 0..whole.len() {
            let mut stream = connect(&socket(&program, protocol));
            stream.write_all(&whole[..end]).and_then(|()| stream.shutdown(Shutdown::Write)).unwrap();
            assert_eq!(read_answer(&mut stream, protocol), "", "{protocol}, cut after {end} octets");
        }
        assert!(!program.folder().join("closed").exists(), "{protocol}: the app was called");
        let noted = answer(&program, protocol, &whole);
        assert!(status(&noted) == "200" && program.folder().join("closed").exists(), "{protocol}: {noted}");
        std::fs::remove_file(program.folder().join("closed")).unwrap();
    }
}

#[test]
fn padding_of_records_is_skipped() {
    let program = site("app", "");
    let mut stream = connect(&socket(&program, "fastcgi"));
    for padding in [1, 7, 255] {
        let post = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/upload"), ("HTTP_HOST", "site.test"), ("CONTENT_LENGTH", "6")];
        let octets: Vec<u8> = begin_and_body(&post).iter().flat_map(|(kind, content)| padded(*kind, 1, content, padding)).collect();
        stream.write_all(&octets).unwrap();
        let (text, end) = read_response(&mut stream, 1);
        // The body is "abcdef", whatever its records are padded with.
        assert!(text.contains("6 bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721") && end.is_some(), "{padding}: {text}");
    }
}

/// The records of a request whose body comes in two.
fn begin_and_body(pairs: Pairs<'_>) -> Vec<(u8, Vec<u8>)> {
    let params = pairs.iter().flat_map(|(name, value)| {
        let lengths = [u8::try_from(name.len()).unwrap(), u8::try_from(value.len()).unwrap()];
        lengths.into_iter().chain(name.bytes()).chain(value.bytes()).collect::<Vec<u8>>()
    });
    vec![
        (1, vec![0, 1, 1, 0, 0, 0, 0, 0]),
        (4, params.collect()),
        (4, Vec::new()),
        (5, b"abc".to_vec()),
        (5, b"def".to_vec()),
        (5, Vec::new()),
    ]
}

#[test]
fn questions_of_a_front_server_are_answered_and_the_connection_goes_on() {
    let program = site("app", "");
    let mut stream = connect(&socket(&program, "fastcgi"));
    stream.write_all(&record(9, 0, b"\x0f\0FCGI_MPXS_CONNS\x01\0X")).unwrap();
    assert_eq!(read_record(&mut stream).unwrap(), (10, 0, b"\x0f\x01FCGI_MPXS_CONNS0".to_vec()));
    stream.write_all(&record(99, 0, b"")).unwrap();
    assert_eq!(read_record(&mut stream).unwrap(), (11, 0, vec![99, 0, 0, 0, 0, 0, 0, 0]));
    // An authorizer, with its variables.
    stream
        .write_all(&[record(1, 3, &[0, 2, 1, 0, 0, 0, 0, 0]), record(4, 3, b"\x01\x01ab"), record(4, 3, b""), record(5, 3, b"")].concat())
        .unwrap();
    assert_eq!(read_record(&mut stream).unwrap(), (3, 3, vec![0, 0, 0, 0, 3, 0, 0, 0]));
    // A request that is aborted before its variables have come.
    stream.write_all(&[record(1, 4, &[0, 1, 1, 0, 0, 0, 0, 0]), record(4, 4, b"\x01"), record(2, 4, b"")].concat()).unwrap();
    assert_eq!(read_response(&mut stream, 4), (String::new(), Some(vec![0; 8])));
    stream.write_all(&fastcgi(1, false, GET, b"")).unwrap();
    assert_eq!(status(&read_response(&mut stream, 1).0), "200");
}

#[test]
fn records_in_the_wrong_place_end_the_connection_before_the_app_is_called() {
    let program = site("plain", "");
    let note = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/note"), ("HTTP_HOST", "site.test"), ("CONTENT_LENGTH", "3")];
    let open = begin(1, true, &note);
    let (body, end) = (record(5, 1, b"abc"), record(5, 1, b""));
    let version = |version: u8, mut octets: Vec<u8>| {
        octets[0] = version;
        octets
    };
    // The status of the response, or none where no request has begun.
    for (octets, expected) in [
        (vec![open.clone(), version(2, body.clone()), end.clone()], "400"),
        (vec![version(0, open.clone())], ""),
        (vec![open.clone(), record(1, 1, &[0, 1, 1, 0, 0, 0, 0, 0]), body.clone(), end.clone()], "400"),
        (vec![open.clone(), record(4, 1, b"\x01\x01ab"), body.clone(), end.clone()], "400"),
        (vec![open.clone(), record(5, 2, b"abc"), end.clone()], "400"),
        (vec![open.clone(), record(6, 1, b"abc"), end.clone()], "400"),
        (vec![open.clone(), record(12, 1, b"abc"), end.clone()], "400"),
        (vec![open.clone(), record(5, 0, b"abc"), end.clone()], "400"),
        (vec![record(1, 1, &[0, 1, 1, 0, 0, 0, 0, 0]), body.clone(), end.clone()], "400"),
        (vec![record(1, 1, &[0, 1, 1, 0, 0, 0, 0, 0]), record(4, 1, b"\x05\x05a"), record(4, 1, b"")], "400"),
        (vec![record(1, 1, &[0, 1, 1, 0, 0, 0, 0, 0]), record(4, 1, &[0xff; 9]), record(4, 1, b"")], "400"),
        (vec![record(1, 1, &[0, 1, 1, 0, 0, 0, 0, 0]), record(4, 1, &[7; 60_000])], "431"),
        (vec![record(1, 1, &[0, 1, 1, 0, 0, 0, 0, 0, 0])], ""),
    ] {
        let octets = octets.concat();
        let answer = answer(&program, "fastcgi", &octets);
        assert_eq!(status(&answer), expected, "{}: {answer}", octets.escape_ascii());
    }
    assert!(!program.folder().join("closed").exists(), "the app was called");
}

#[test]
fn records_of_requests_that_are_not_active_are_ignored() {
    let program = site("app", r#", "workers": 1"#);
    let mut stream = connect(&socket(&program, "fastcgi"));
    let of = |id: u16| {
        [record(2, id, b""), record(4, id, b"\x01\x01ab"), record(4, id, b""), record(5, id, b"abc"), record(5, id, b"")].concat()
    };
    let post = [GET, &[("CONTENT_LENGTH", "3")]].concat();
    for _ in 0..3 {
        // Late ones of the request before, and those of a request that never begins.
        stream.write_all(&[of(1), of(9)].concat()).unwrap();
        for octets in [begin(1, true, &post), of(9), record(5, 1, b"abc"), of(9), record(5, 1, b""), of(9)] {
            stream.write_all(&octets).unwrap();
        }
        let (answer, end) = read_response(&mut stream, 1);
        assert!(status(&answer) == "200" && end == Some(vec![0; 8]), "{answer}");
    }
}

#[test]
fn a_connection_with_records_of_no_request_is_idle() {
    let listen = r#"{ "at": "unix:fastcgi.sock", "protocol": "fastcgi" }"#;
    let server = r#"{ "keep_alive": "100ms", "header_timeout": "10m" }"#;
    let program = Program::start(&format!(r#"{{ "listen": {listen}, "server": {server}, "app": {{ "respond": 200 }} }}"#), &[]);
    let mut stream = connect(&socket(&program, "fastcgi"));
    stream.write_all(&fastcgi(1, true, GET, b"")).unwrap();
    assert_eq!(status(&read_response(&mut stream, 1).0), "200");
    // It is closed in time, and without a word: the front server has begun no request.
    stream.write_all(&record(5, 1, b"late")).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    assert!(!program.log().contains("refused"), "{}", program.log());
}

#[test]
fn idle_connections_hold_no_thread() {
    let program = site("app", r#", "workers": 1, "threads": 1"#);
    let mut idle = Vec::new();
    for protocol in PROTOCOLS {
        let whole = request(protocol, &[GET, &[("CONTENT_LENGTH", "1")]].concat(), b"");
        for length in 0..40 {
            let mut stream = connect(&socket(&program, protocol));
            // Nothing, a part of the head, and a head without its body.
            stream.write_all(&whole[..whole.len() * length / 40]).unwrap();
            idle.push(stream);
        }
    }
    for protocol in PROTOCOLS {
        assert_eq!(status(&answer(&program, protocol, &request(protocol, GET, b""))), "200");
    }
}

#[test]
fn a_front_server_is_told_that_the_app_is_overloaded() {
    let program = site("plain", r#", "workers": 1, "threads": 1, "queue": { "wait": "100ms" }"#);
    let mut busy = connect(&socket(&program, "uwsgi"));
    busy.write_all(&uwsgi(&[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/stream")], b"")).unwrap();
    busy.read_exact(&mut [0; 100]).unwrap();
    for protocol in PROTOCOLS {
        let answer = answer(&program, protocol, &request(protocol, GET, b""));
        assert!(status(&answer) == "503" && answer.contains("retry-after: ") && !answer.ends_with("\r\n\r\n"), "{protocol}: {answer}");
    }
}
