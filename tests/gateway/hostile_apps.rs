//! Apps that answer as no sound app does, in each protocol, and clients that try to be more to an app than a client is.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::front::{padded, read_record, record};
use crate::listen::PROTOCOLS;
use crate::support::Program;

/// A server of this protocol that sends `answer` on every connection once it has the variables, and gives the octets of those.
fn fake(folder: &Path, protocol: &'static str, answer: Vec<u8>) -> Receiver<Vec<u8>> {
    let listener = UnixListener::bind(folder.join("fake.sock")).unwrap();
    let (sender, variables) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = sender.send(read_variables(&mut stream, protocol));
            let _ = stream.write_all(&answer);
        }
    });
    variables
}

fn read_variables(stream: &mut UnixStream, protocol: &str) -> Vec<u8> {
    let mut exactly = |length: usize| {
        let mut octets = vec![0; length];
        stream.read_exact(&mut octets).unwrap();
        octets
    };
    match protocol {
        "fastcgi" => {
            let mut params = Vec::new();
            while let Some((kind, _, content)) = read_record(stream) {
                match kind {
                    4 => params.extend(content),
                    5 if content.is_empty() => break,
                    _ => {}
                }
            }
            params
        }
        "scgi" => {
            let mut figures = String::new();
            loop {
                match exactly(1)[0] {
                    b':' => break exactly(figures.parse::<usize>().unwrap() + 1),
                    figure => figures.push(figure.into()),
                }
            }
        }
        _ => {
            let head = exactly(4);
            exactly(usize::from(u16::from_le_bytes([head[1], head[2]])))
        }
    }
}

/// The program in front of that server.
fn before(protocol: &'static str, answer: Vec<u8>) -> (Program, Receiver<Vec<u8>>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let variables = fake(folder.path(), protocol, answer);
    let app = format!(r#"{{ "{protocol}": {{ "to": "unix:{}/fake.sock", "eject": false, "retry": false }} }}"#, folder.path().display());
    (Program::start(&format!(r#"{{ "listen": "127.0.0.1:0", "app": {app} }}"#), &[]), variables, folder)
}

/// The response of an app in its protocol, complete by its rules.
fn whole(protocol: &str, response: &str) -> Vec<u8> {
    match protocol {
        "fastcgi" => {
            let pieces = response.as_bytes().chunks(50_000).flat_map(|piece| record(6, 1, piece));
            pieces.chain(record(3, 1, &[0; 8])).collect()
        }
        _ => response.as_bytes().to_vec(),
    }
}

#[test]
fn a_head_that_is_none_is_502_in_each_protocol() {
    let long = format!("Status: 200\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    for protocol in PROTOCOLS {
        for head in [
            "",
            "\r\n\r\n",
            "no head at all\r\n\r\n",
            "X: y\r\n\r\n",
            "Status: 200 OK\r\n",
            "Status: 99\r\n\r\n",
            "Status: 100 Continue\r\n\r\nStatus: 200\r\n\r\n",
            "Status: 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            "Status: 200\r\nStatus: 500\r\n\r\n",
            "HTTP/1.1 200 OK\r\nStatus: 500\r\n\r\n",
            "Status: 200\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            "Status: 200\r\nContent-Length: 1, 1\r\n\r\nx",
            "Status: 200\r\nContent-Length: -1\r\n\r\nx",
            "Status: 200\r\nX: a\rb\r\n\r\n",
            "Status: 200\r\nX: a\0b\r\n\r\n",
            "Status: 200\r\nX : y\r\n\r\n",
            "Status: 200\r\nX: a\r\n folded\r\n\r\n",
            &long,
        ] {
            let (program, _variables, _folder) = before(protocol, whole(protocol, head));
            let answer = program.get("/");
            assert!(answer.starts_with("HTTP/1.1 502 "), "{protocol} {:?}: {answer}\n{}", &head[..head.len().min(80)], program.log());
        }
    }
}

#[test]
fn a_body_is_what_its_head_says_in_each_protocol() {
    for protocol in PROTOCOLS {
        for (response, expected) in [
            // A body that the response cannot have is dropped.
            ("Status: 204\r\n\r\nbody", "HTTP/1.1 204 "),
            ("Status: 304\r\nETag: \"1\"\r\n\r\nbody", "HTTP/1.1 304 "),
            // The connection is this server's own: an app cannot frame what is sent on it.
            ("Status: 200\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nbody", "HTTP/1.1 200 "),
            ("Status: 200\r\nConnection: keep-alive, x-gone\r\nX-Gone: 1\r\nContent-Length: 4\r\n\r\nbody", "HTTP/1.1 200 "),
            ("Status: 200\r\nContent-Length: 4\r\n\r\nbodyHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 "),
        ] {
            let (program, _variables, _folder) = before(protocol, whole(protocol, response));
            let answer = program.get("/");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let has_body = expected.contains("200");
            assert!(head.starts_with(expected) && body == if has_body { "body" } else { "" }, "{protocol} {response:?}: {answer}");
            assert!(!head.contains("transfer-encoding") && !head.contains("x-gone"), "{protocol} {response:?}: {answer}");
            let head_only = program.exchange("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            assert!(head_only.starts_with(expected) && head_only.ends_with("\r\n\r\n"), "{protocol} {response:?}: {head_only}");
        }
        let (mut program, _variables, _folder) = before(protocol, whole(protocol, "Status: 200\r\nContent-Length: 9\r\n\r\nbody"));
        let cut = program.get("/");
        assert!(
            cut.starts_with("HTTP/1.1 200 ") && cut.contains("content-length: 9\r\n") && cut.ends_with("\r\n\r\nbody"),
            "{protocol}: {cut}"
        );
        program.wait_for_log("the connection ended before the body");
    }
}

#[test]
fn records_of_an_app_may_be_padded_and_come_in_any_pieces() {
    let end = padded(3, 1, &[0; 8], 255);
    let text = "Status: 201\r\nContent-Type: text/plain\r\n\r\nbody";
    let pieces: Vec<u8> = text.bytes().flat_map(|octet| padded(6, 1, &[octet], 255)).collect();
    let noise = [padded(7, 1, b"a line", 3), padded(7, 1, b"", 9), padded(11, 0, &[0; 8], 1)].concat();
    for answer in [[pieces.clone(), padded(6, 1, b"", 200), end.clone()].concat(), [noise, pieces, end].concat()] {
        let (program, _variables, _folder) = before("fastcgi", answer);
        let answer = program.get("/");
        let is_whole = answer.ends_with("\r\n\r\nbody") || answer.ends_with("\r\n0\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 201 ") && is_whole, "{answer}");
    }
}

#[test]
fn records_that_no_app_sends_are_502_or_a_response_without_an_end() {
    let head = record(6, 1, b"Status: 200\r\n\r\n");
    let mut other = record(6, 1, b"body");
    other[0] = 2;
    for (records, status) in [
        (vec![record(6, 2, b"Status: 200\r\n\r\n")], "502"),
        (vec![record(1, 1, &[0; 8])], "502"),
        (vec![record(5, 1, b"x")], "502"),
        (vec![record(42, 1, b"x")], "502"),
        (vec![record(3, 1, &[0; 8])], "502"),
        (vec![record(3, 1, &[0; 7])], "502"),
        (vec![record(3, 1, &[0, 0, 0, 0, 9, 0, 0, 0])], "502"),
        // Between the head and the end: the response has begun, and must not look complete.
        (vec![head.clone(), other], "200"),
        (vec![head.clone(), record(6, 2, b"body"), record(3, 1, &[0; 8])], "200"),
        (vec![head.clone(), record(3, 1, &[0; 7])], "200"),
        (vec![head.clone(), record(3, 1, &[0, 0, 0, 0, 1, 0, 0, 0])], "200"),
        (vec![head.clone(), record(6, 1, b"body"), record(6, 1, b"")], "200"),
    ] {
        let octets = records.concat();
        let (program, _variables, _folder) = before("fastcgi", octets.clone());
        let answer = program.get("/");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {answer}", octets.escape_ascii());
        assert!(status == "502" || !answer.ends_with("0\r\n\r\n"), "{}: {answer}", octets.escape_ascii());
    }
}

#[test]
fn a_client_sets_no_variable_but_those_of_its_headers() {
    for protocol in PROTOCOLS {
        let (program, variables, _folder) = before(protocol, whole(protocol, "Status: 200\r\n\r\nok"));
        let headers = [
            "Proxy: evil-1",
            "X_Foo: evil-2",
            "UWSGI_FILE: evil-3",
            "X-Forwarded-For: evil-4",
            "X-Forwarded-Proto: evil-5",
            "Content_Length: 666",
            "Connection: close, x-hop",
            "X-Hop: evil-6",
            "Transfer-Encoding: chunked",
            "Uwsgi-File: mine",
        ];
        // A chunked body has no length that these protocols can carry.
        let request = |headers: &[&str]| format!("POST /a%2520b?c=%20 HTTP/1.1\r\nHost: h\r\n{}\r\n\r\n", headers.join("\r\n"));
        let chunked = program.exchange(request(&headers) + "0\r\n\r\n");
        assert!(chunked.starts_with("HTTP/1.1 411 "), "{protocol}: {chunked}");
        let plain: Vec<&str> = headers.into_iter().filter(|header| !header.starts_with("Transfer")).collect();
        let answer = program.exchange(request(&plain));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{protocol}: {answer}");
        let told = String::from_utf8_lossy(&variables.recv().unwrap()).into_owned();
        assert!(!told.contains("evil") && !told.contains("666"), "{protocol}: {}", told.escape_debug());
        // Decoded once, and not at all where the client's own octets are asked for.
        for part in ["/a%20b", "/a%2520b?c=%20", "HTTP_UWSGI_FILE"] {
            assert!(told.contains(part), "{protocol} {part}: {}", told.escape_debug());
        }
        assert!(!told.replace("HTTP_UWSGI_FILE", "").contains("UWSGI_"), "{protocol}: {}", told.escape_debug());
    }
}

#[test]
fn an_app_is_told_absolute_paths_whatever_the_file_says() {
    let peer = tempfile::tempdir().unwrap();
    let answer = whole("fastcgi", "Content-Type: text/plain\r\n\r\nhere");
    let variables = fake(peer.path(), "fastcgi", answer);
    let app = format!(r#"{{ "fastcgi": {{ "to": "unix:{}/fake.sock", "root": "public" }} }}"#, peer.path().display());
    let program = Program::start(&format!(r#"{{ "listen": "127.0.0.1:0", "app": {app} }}"#), &[("public/index.php", "")]);
    assert!(program.get("/").ends_with("here"));
    let (told, root) = (variables.recv().unwrap(), program.folder().canonicalize().unwrap().join("public"));
    for expected in [format!("SCRIPT_FILENAME{}/index.php", root.display()), format!("DOCUMENT_ROOT{}", root.display())] {
        assert!(told.windows(expected.len()).any(|octets| octets == expected.as_bytes()), "{expected}: {}", told.escape_ascii());
    }
}

#[test]
fn a_request_without_a_body_has_no_length_of_one() {
    for protocol in ["fastcgi", "uwsgi"] {
        let has_length = |request: &str| {
            // Each has a connection of its own: the server closes it behind its answer.
            let (program, variables, _folder) = before(protocol, whole(protocol, "Content-Type: text/plain\r\n\r\nhere"));
            assert!(program.exchange(request).contains("here"), "{protocol}");
            variables.recv().unwrap().windows(14).any(|octets| octets == b"CONTENT_LENGTH")
        };
        assert!(!has_length("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), "{protocol}");
        assert!(has_length("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), "{protocol}");
        assert!(has_length("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"), "{protocol}");
    }
}
