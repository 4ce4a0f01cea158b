//! The PROXY protocol on a listener: headers in pieces, malformed ones, those of strangers, and a real HAProxy.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};

use crate::support::{PATIENCE, Program};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

/// A site that tells clients of 203.0.113.0/24 from those of this machine.
fn site(at: &str, options: &str) -> String {
    format!(
        r#"{{ "listen": {{ "at": "{at}", "proxy_protocol": {options} }}, "app": {{ "routes": [
            {{ "match": {{ "client": "203.0.113.0/24" }}, "app": {{ "respond": {{ "body": "proxied" }} }} }},
            {{ "match": {{ "client": "127.0.0.0/8" }}, "app": {{ "respond": {{ "body": "direct" }} }} }},
            {{ "app": {{ "respond": {{ "body": "unix" }} }} }}
        ] }} }}"#
    )
}

fn trusting(options: &str) -> Program {
    Program::start(&site("127.0.0.1:0", options), &[])
}

/// A header of version 2 with this command and family, and a checksum that is wrong by `change`.
fn binary(command: u8, family: u8, addresses: &[u8], change: u32) -> Vec<u8> {
    let fields = [addresses, &[3, 0, 4, 0, 0, 0, 0]].concat();
    let length = u16::try_from(fields.len()).unwrap().to_be_bytes();
    let mut header = [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, &fields].concat();
    let crc = !header.iter().fold(!0_u32, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    });
    let end = header.len();
    header[end - 4..].copy_from_slice(&(crc ^ change).to_be_bytes());
    header
}

const IPV4: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 80];

#[test]
fn a_header_in_pieces_is_read_and_what_follows_in_the_same_piece_is_the_request() {
    let program = trusting(r#"{ "trust": "127.0.0.1" }"#);
    let v1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n".to_vec();
    for header in [v1, binary(0x21, 0x11, &IPV4, 0)] {
        let mut stream = program.connect();
        let (last, pieces) = header.split_last().unwrap();
        for octet in pieces {
            stream.write_all(&[*octet]).unwrap();
        }
        stream.write_all(&[&[*last], GET].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("proxied"), "{answer}");
    }
}

#[test]
fn a_connection_of_the_proxy_itself_keeps_its_address() {
    let program = trusting(r#"{ "trust": ["127.0.0.0/8", "unix"] }"#);
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x20, 0x11, &IPV4, 1), binary(0x21, 0x00, &[], 0)] {
        let answer = program.exchange([&header, GET].concat());
        assert!(answer.ends_with("direct"), "{answer}");
    }
    // The client of the proxy is on a Unix socket.
    assert!(program.exchange([&binary(0x21, 0x31, &[b'x'; 216], 0), GET].concat()).ends_with("unix"));
}

#[test]
fn a_trusted_proxy_without_a_valid_header_gets_no_answer_and_one_line_in_the_log() {
    let mut program = trusting(r#"{ "trust": "127.0.0.1" }"#);
    let line = |addresses: &str| format!("PROXY TCP4 {addresses}\r\n").into_bytes();
    let headers = [
        line("203.0.113.7 192.0.2.1 +80 80"),
        line("203.0.113.7 192.0.2.1 080 80"),
        line("192.0.2.700 192.0.2.1 1 80"),
        binary(0x21, 0x11, &IPV4, 1),
        binary(0x21, 0x12, &IPV4, 0),
        Vec::new(),
        Vec::new(),
    ];
    for header in headers {
        assert_eq!(program.exchange([&header, GET].concat()), "");
    }
    program.wait_for_log("a port is not a number from 0 to 65535: closed a connection from 127.0.0.1");
    program.wait_for_log("the connection does not begin with a PROXY protocol header: closed a connection from 127.0.0.1");
    let log = program.log();
    assert_eq!(log.matches("closed a connection").count(), 2, "{log}");
}

#[test]
fn a_trusted_proxy_that_is_silent_is_closed_in_time() {
    let mut program = trusting(r#"{ "trust": "127.0.0.1", "timeout": "200ms" }"#);
    for begin in [&b""[..], b"PROXY TCP4 203.0"] {
        let since = Instant::now();
        let mut stream = program.connect();
        stream.write_all(begin).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or_default(), 0);
        assert!(since.elapsed() >= Duration::from_millis(200) && since.elapsed() < PATIENCE);
    }
    program.wait_for_log("no PROXY protocol header came within 200ms");
}

#[test]
fn nothing_is_looked_for_on_the_connection_of_a_stranger() {
    let program = trusting(r#"{ "trust": ["192.0.2.0/24", "unix"] }"#);
    assert!(program.exchange(GET).ends_with("direct"));
    let answer = program.exchange([b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n", GET].concat());
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[test]
fn a_proxy_on_a_unix_socket_may_be_trusted() {
    let program = Program::start(&site("unix:site.sock", r#"{ "trust": "unix" }"#), &[]);
    let ask = |octets: &[u8]| {
        let mut stream = UnixStream::connect(program.folder().join("site.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(octets).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert!(ask(&[b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n", GET].concat()).ends_with("proxied"));
    assert!(ask(&[b"PROXY UNKNOWN\r\n", GET].concat()).ends_with("unix"));
    assert_eq!(ask(GET), "");
}

#[test]
fn options_that_cannot_work_are_explained() {
    let refusal = |options: &str| {
        let folder = crate::support::folder_of(&[("pipeline.json", &site("127.0.0.1:0", options))]);
        let output = crate::support::command(folder.path()).args(["check", "pipeline.json"]).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refusal(r#"{ "trust": [] }"#).contains("no proxy is trusted"));
    assert!(refusal(r#"{ "trust": "127.0.0.1", "timeout": "0s" }"#).contains("no header can arrive"));
    assert!(refusal(r#"{ "trust": "everybody" }"#).contains("is not a network"));
    assert!(refusal("true").contains("proxy_protocol"));
}

/// HAProxy before the program, if this machine has it: Debian's package is `haproxy`.
#[test]
fn haproxy_names_its_clients_in_both_versions_and_checks_with_a_header_of_its_own() {
    if Command::new("haproxy").arg("-v").stdout(Stdio::null()).status().is_err() {
        eprintln!("not tested: there is no haproxy");
        return;
    }
    let program = trusting(r#"{ "trust": "127.0.0.1" }"#);
    for option in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = listener.local_addr().unwrap();
        let config = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
             frontend site\n bind fd@3\n http-request set-src hdr(x-client)\n default_backend ziggurat\n\
             backend ziggurat\n option httpchk GET /\n http-check expect string direct\n server one {} {option} check check-send-proxy inter 50ms\n",
            program.address()
        );
        std::fs::write(program.folder().join("haproxy.cfg"), config).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(program.folder().join("haproxy.cfg"));
        command.fd_mappings(vec![FdMapping { parent_fd: listener.into(), child_fd: 3 }]).unwrap();
        let mut haproxy = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        drop(command);
        let ask = || {
            let mut stream = TcpStream::connect(front).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nX-Client: 203.0.113.7\r\nConnection: close\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        };
        let since = Instant::now();
        let answer = loop {
            match ask() {
                Some(answer) if answer.starts_with("HTTP/1.1 200") => break answer,
                other => assert!(since.elapsed() < PATIENCE, "{option}: {other:?}\n{}", program.log()),
            }
        };
        // The first check has not failed by now.
        let still = ask().unwrap();
        haproxy.kill().unwrap();
        haproxy.wait().unwrap();
        assert!(answer.ends_with("proxied") && still.ends_with("proxied"), "{option}: {answer}");
    }
}
