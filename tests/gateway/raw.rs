//! Octets on the listeners: what becomes a request, what is refused, and how.

use std::io::Write;
use std::net::Shutdown;

use crate::front::{GET, Pairs, ask, begin, connect, fastcgi, read_record, read_response, record, scgi, uwsgi};
use crate::listen::{site, socket};
use crate::support::{Program, command, folder_of};

/// A request in each protocol, and the text of its response.
fn responses(program: &Program, pairs: Pairs<'_>, body: &[u8]) -> [String; 3] {
    let length = body.len().to_string();
    let pairs = &[pairs, &[("CONTENT_LENGTH", &*length)]].concat();
    let fastcgi = {
        let mut stream = connect(&socket(program, "fastcgi"));
        stream.write_all(&fastcgi(1, false, pairs, body)).unwrap();
        let (text, end) = read_response(&mut stream, 1);
        assert_eq!(end.unwrap(), [0; 8]);
        assert!(read_record(&mut stream).is_none(), "the connection goes on");
        text
    };
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    let scgi = ask(&socket(program, "scgi"), &scgi(pairs, body));
    [fastcgi, text(scgi), text(ask(&socket(program, "uwsgi"), &uwsgi(pairs, body)))]
}

#[test]
fn the_variables_of_a_front_server_are_the_environ_of_the_app() {
    let program = site("app", "");
    let pairs = [
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", "/shop"),
        ("PATH_INFO", "/a b"),
        ("QUERY_STRING", "x=1&y"),
        ("REQUEST_URI", "/shop/a%20b?x=1&y"),
        ("CONTENT_TYPE", "text/x"),
        ("SERVER_NAME", "ignored.test"),
        ("SERVER_PORT", "8443"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("HTTPS", "on"),
        ("REMOTE_ADDR", "203.0.113.7"),
        ("REMOTE_USER", "ann"),
        ("AUTH_TYPE", "Digest"),
        ("HTTP_HOST", "site.test"),
        ("HTTP_X_FOO", "1"),
        ("HTTP_X-FOO", "shadow"),
        ("HTTP_PROXY", "evil"),
        ("UWSGI_FILE", "/etc/passwd"),
        ("wsgi.url_scheme", "gopher"),
    ];
    for (response, status) in responses(&program, &pairs, b"abc").into_iter().zip(["Status: 200 OK", "Status: 200 OK", "HTTP/1.1 200 OK"]) {
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(status) && head.contains(&format!("content-length: {}", body.len())), "{head}");
        let environ: serde_json::Value = serde_json::from_str(body).unwrap();
        let expected = serde_json::json!({
            "REQUEST_METHOD": "POST", "SCRIPT_NAME": "/shop", "PATH_INFO": "/a b", "QUERY_STRING": "x=1&y", "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "203.0.113.7", "REMOTE_USER": "ann", "AUTH_TYPE": "Digest", "HTTP_HOST": "site.test", "CONTENT_TYPE": "text/x",
            "CONTENT_LENGTH": "3", "HTTP_X_FOO": "1", "SERVER_PORT": "8443", "wsgi.url_scheme": "https"
        });
        assert_eq!(environ, expected);
    }
}

#[test]
fn heads_statuses_and_repeated_headers_reach_the_front_server() {
    let program = site("app", "");
    let at = |method: &'static str, path: &'static str| responses(&program, &[("REQUEST_METHOD", method), ("PATH_INFO", path)], b"");
    for response in at("GET", "/cookies") {
        assert!(response.contains("404 Not Found\r\n") && response.matches("set-cookie: ").count() == 2, "{response}");
    }
    for response in at("HEAD", "/") {
        assert!(response.contains("200 OK\r\n") && response.contains("content-length: ") && response.ends_with("\r\n\r\n"), "{response}");
    }
    for response in at("GET", "/304") {
        assert!(response.contains("304 Not Modified\r\n") && response.ends_with("\r\n\r\n"), "{response}");
    }
    for response in at("GET", "/raise") {
        assert!(response.contains("500 Internal Server Error\r\n"), "{response}");
    }
}

#[test]
fn a_kept_fastcgi_connection_carries_requests_one_after_the_other() {
    let program = site("app", "");
    let mut stream = connect(&socket(&program, "fastcgi"));
    for id in [1, 1, 7, 300] {
        // Records in pieces, and the beginning of the next request behind the end of one.
        for octets in fastcgi(id, true, &[GET, &[("CONTENT_LENGTH", "2500")]].concat(), &[b'x'; 2500]).chunks(700) {
            stream.write_all(octets).unwrap();
        }
        let (text, end) = read_response(&mut stream, id);
        assert!(text.starts_with("Status: 200") && end.unwrap() == [0; 8], "{text}");
    }
    // One at a time: a second request before the end of the first is told so.
    let pause = [GET, &[("CONTENT_LENGTH", "1")]].concat();
    stream.write_all(&[begin(1, true, &pause), fastcgi(2, true, GET, b""), record(5, 1, b"x"), record(5, 1, b"")].concat()).unwrap();
    assert_eq!(read_record(&mut stream).unwrap(), (3, 2, vec![0, 0, 0, 0, 1, 0, 0, 0]));
    assert!(read_response(&mut stream, 1).0.starts_with("Status: 200"));
    stream.write_all(&fastcgi(2, false, GET, b"")).unwrap();
    assert!(read_response(&mut stream, 2).0.starts_with("Status: 200"));
    assert!(read_record(&mut stream).is_none());
}

#[test]
fn a_fastcgi_response_that_breaks_off_has_no_end() {
    let mut program = site("plain", "");
    let mut stream = connect(&socket(&program, "fastcgi"));
    stream.write_all(&fastcgi(1, true, &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/broken")], b"")).unwrap();
    let (text, end) = read_response(&mut stream, 1);
    assert!(text.contains("begins") && end.is_none(), "{text}");
    program.wait_for_log("breaks off");
}

#[test]
fn an_aborted_request_is_cancelled_and_the_connection_goes_on() {
    let program = site("plain", "");
    let mut stream = connect(&socket(&program, "fastcgi"));
    let get = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/stream")];
    stream.write_all(&fastcgi(1, true, &get, b"")).unwrap();
    let (kind, _, content) = read_record(&mut stream).unwrap();
    assert!(kind == 6 && content.starts_with(b"Status: 200"));
    stream.write_all(&record(2, 1, b"")).unwrap();
    assert!(read_response(&mut stream, 1).1.is_some());
    closed(&program, 1);
    stream.write_all(&fastcgi(2, true, GET, b"")).unwrap();
    assert!(read_response(&mut stream, 2).0.starts_with("Status: 200"));
    // A front server that closes the connection cancels, too.
    for protocol in ["uwsgi", "scgi"] {
        let octets = if protocol == "uwsgi" { uwsgi(&get, b"") } else { scgi(&get, b"") };
        let mut stream = connect(&socket(&program, protocol));
        stream.write_all(&octets).unwrap();
        std::io::Read::read_exact(&mut stream, &mut [0; 100]).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
        closed(&program, if protocol == "uwsgi" { 2 } else { 3 });
    }
}

/// Waits until the app has closed so many streams.
fn closed(program: &Program, count: usize) {
    let since = std::time::Instant::now();
    loop {
        let lines = std::fs::read_to_string(program.folder().join("closed")).unwrap_or_default();
        if lines.lines().count() >= count {
            return;
        }
        assert!(since.elapsed() < crate::support::PATIENCE, "{count} streams are not closed: {}", program.log());
        std::thread::yield_now();
    }
}

#[test]
fn what_is_no_request_is_refused_in_the_terms_of_the_protocol() {
    let mut program = site("app", "");
    let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
    let no_method: Pairs<'_> = &[("PATH_INFO", "/")];
    let twice = [GET, &[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "1")]].concat();
    for (protocol, octets, status) in [
        ("uwsgi", uwsgi(no_method, b""), "HTTP/1.1 400"),
        ("uwsgi", uwsgi(&twice, b"x"), "HTTP/1.1 400"),
        ("uwsgi", uwsgi(&[GET, &[("HTTP_X", "a\r\nb: c")]].concat(), b""), "HTTP/1.1 400"),
        ("uwsgi", uwsgi(&[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/"), ("HTTP_HOST", "a/b")], b""), "HTTP/1.1 400"),
        ("uwsgi", uwsgi(&[("REQUEST_METHOD", "CONNECT"), ("PATH_INFO", "/")], b""), "HTTP/1.1 501"),
        ("uwsgi", [&uwsgi(GET, b"")[..], b"more"].concat(), "HTTP/1.1 400"),
        ("uwsgi", b"\0\xff\xff\0".to_vec(), "HTTP/1.1 431"),
        ("uwsgi", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        ("scgi", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "Status: 400"),
        ("scgi", b"24:CONTENT_LENGTH\x000\0SCGI\x002\0,".to_vec(), "Status: 400"),
        ("scgi", b"99999999:".to_vec(), "Status: 431"),
    ] {
        let answer = text(ask(&socket(&program, protocol), &octets));
        assert!(answer.starts_with(status), "{protocol} {status}: {answer}");
    }
    program.wait_for_log("refused a request from a client on a Unix socket: 400: the variable `REQUEST_METHOD` is missing");
    program.wait_for_log("400: there are octets behind the request");
    let fastcgi_answer = |octets: &[u8]| {
        let mut stream = connect(&socket(&program, "fastcgi"));
        stream.write_all(octets).unwrap();
        read_response(&mut stream, 1)
    };
    for octets in [
        fastcgi(1, true, no_method, b""),
        [begin(1, true, &[GET, &[("CONTENT_LENGTH", "5")]].concat()), record(5, 1, b"abc"), record(5, 1, b"")].concat(),
        [begin(1, true, &[GET, &[("CONTENT_LENGTH", "1")]].concat()), record(5, 1, b"abc")].concat(),
        [begin(1, true, GET), record(4, 1, b"")].concat(),
    ] {
        let (answer, end) = fastcgi_answer(&octets);
        assert!(answer.starts_with("Status: 400 Bad Request") && end.is_some(), "{answer}");
    }
    // Without a request there is nobody to answer.
    for octets in [&b"GET / HTTP/1.1\r\n\r\n"[..], &record(1, 0, &[0, 1, 0, 0, 0, 0, 0, 0]), &record(1, 1, b"short")] {
        assert_eq!(fastcgi_answer(octets), (String::new(), None));
    }
}

#[test]
fn a_body_that_is_cut_short_never_reaches_the_app() {
    let program = site("plain", "");
    let post = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/stream"), ("CONTENT_LENGTH", "10")];
    for (protocol, octets) in [
        ("uwsgi", uwsgi(&post, b"short")),
        ("fastcgi", [begin(1, true, &post), record(5, 1, b"short")].concat()),
        ("uwsgi", uwsgi(&post, b"")[..20].to_vec()),
    ] {
        let mut stream = connect(&socket(&program, protocol));
        stream.write_all(&octets).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
    // The app was not called: it would have opened its file by now.
    assert!(String::from_utf8_lossy(&ask(&socket(&program, "uwsgi"), &uwsgi(GET, b""))).contains("200 OK"));
    assert!(!program.folder().join("closed").exists());
}

#[test]
fn a_connection_of_a_stranger_is_closed_with_one_line_in_the_log() {
    let start = |trust: &str| {
        let listen = format!(r#"{{ "at": "127.0.0.1:0", "protocol": "uwsgi", "trust": {trust} }}"#);
        let folder = folder_of(&[("pipeline.json", &format!(r#"{{ "listen": {listen}, "app": {{ "respond": {{ "body": "here" }} }} }}"#))]);
        let mut command = command(folder.path());
        command.args(["run", "pipeline.json"]);
        Program::spawn(command, folder)
    };
    let ask = |program: &Program| {
        let log = program.log();
        let (_, address) = log.lines().find(|line| line.starts_with("listening on uwsgi://")).unwrap().split_once("://").unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let _ = stream.write_all(&uwsgi(GET, b""));
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        String::from_utf8(answer).unwrap()
    };
    let trusting = start(r#"["192.0.2.0/24", "127.0.0.1"]"#);
    assert!(ask(&trusting).ends_with("\r\n\r\nhere"));
    let mut strict = start(r#"["192.0.2.0/24"]"#);
    for _ in 0..3 {
        assert_eq!(ask(&strict), "");
    }
    strict.wait_for_log("it is none of the front servers in `trust`");
    assert_eq!(strict.log().matches("none of the front servers").count(), 1);
}

#[test]
fn a_listener_that_could_serve_nobody_is_explained() {
    let refusal = |listen: &str| {
        let folder = folder_of(&[("pipeline.json", &format!(r#"{{ "listen": {listen}, "app": {{ "respond": 204 }} }}"#))]);
        let output = command(folder.path()).args(["check", "pipeline.json"]).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refusal(r#"{ "at": ":4000", "protocol": "scgi" }"#).contains("no front server is trusted"));
    assert!(refusal(r#"{ "at": ":4000", "protocol": "scgi", "trust": [] }"#).contains("no front server is trusted"));
    assert!(refusal(r#"{ "at": ":4000", "trust": "127.0.0.1" }"#).contains("has no effect"));
    assert!(refusal(r#"{ "at": "unix:a", "protocol": "scgi", "http": ["1.1"] }"#).contains("`http` has no effect"));
    assert!(refusal(r#"{ "at": ":4000", "protocol": "ajp" }"#).contains("unknown value `ajp`"));
}
