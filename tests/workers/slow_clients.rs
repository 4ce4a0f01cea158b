//! Clients that send or take their bodies slowly hold neither threads nor memory.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{Domain, Socket, Type};

use crate::site::{SITE, ask, get, start, wait_until};
use crate::support::{PATIENCE, Program};

/// Blocks of a long response, and their octets.
const BLOCKS: usize = 128;
const LONG: usize = BLOCKS << 16;

/// A client that has asked for `path`, and whose kernel takes little of the response.
fn slow_client(program: &Program, path: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&program.address().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path}?{BLOCKS} HTTP/1.0\r\nHost: test\r\n\r\n").unwrap();
    stream
}

/// Checks that the blocks of a body come in their order, none missing.
fn assert_whole(body: &[u8]) {
    assert_eq!(body.len(), LONG);
    for (nth, block) in body.chunks(1 << 16).enumerate() {
        assert!(block == format!("{nth:08}").repeat(8192).as_bytes(), "block {nth}");
    }
}

#[test]
fn clients_that_take_nothing_of_their_responses_hold_no_thread() {
    for path in ["/generated", "/list", "/file"] {
        let program = start(r#""workers": 1, "threads": 4"#);
        let slow: Vec<_> = (0..8).map(|_| slow_client(&program, path)).collect();
        for client in &slow {
            assert_eq!(client.peek(&mut [0]).unwrap(), 1, "{path}: {}", program.log());
        }
        assert_eq!(get(&program, "/pid").0, 200, "{path}");
        for mut client in slow {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            assert_whole(&answer[head..]);
        }
    }
}

#[test]
fn streams_without_a_window_hold_no_thread() {
    for path in ["/generated", "/list", "/file"] {
        let program = start(r#""workers": 1, "threads": 4"#);
        let mut client = program.connect();
        // The preface, and settings with a window of 0 (RFC 9113 sections 3.4 and 6.5.2).
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00").unwrap();
        for stream in (1_u32..64).step_by(2) {
            let target = format!("{path}?{}", BLOCKS / 8);
            let head = [b"\x82\x86\x04", &[target.len() as u8][..], target.as_bytes(), b"\x41\x01a"].concat();
            client.write_all(&[&[0, 0, head.len() as u8, 1, 5], &stream.to_be_bytes()[..], &head].concat()).unwrap();
        }
        // All of them have their heads.
        let (mut answer, mut heads) = (Vec::new(), 0);
        while heads < 32 {
            let mut block = [0; 4096];
            let count = client.read(&mut block).unwrap();
            assert!(count > 0, "{}", program.log());
            answer.extend_from_slice(&block[..count]);
            heads = frames(&answer).filter(|kind| *kind == 1).count();
        }
        assert_eq!(get(&program, "/pid").0, 200, "{path}");
    }
}

/// The kinds of the frames that are whole.
fn frames(octets: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let head = octets.get(at..at + 9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        at += 9 + length;
        (at <= octets.len()).then_some(head[3])
    })
}

fn with_metrics(spool: &str) -> Program {
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "server": {{ "spool": {spool} }}, "app": {{ "routes": [
            {{ "match": {{ "path": "/metrics" }}, "app": {{ "metrics": {{}} }} }},
            {{ "app": {{ "wsgi": {{ "app": "site_under_test:app", "workers": 1, "threads": 1 }} }} }}
        ] }} }}"#
    );
    Program::start(&pipeline, &[("site_under_test.py", SITE)])
}

/// The sum of the samples of a metric that have this label.
fn metric(program: &Program, name: &str, label: &str) -> u64 {
    let (_, metrics) = ask(program.address(), "/metrics");
    let samples = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn unfinished_uploads_take_little_memory() {
    const UPLOAD: usize = (1 << 20) - 1;
    const CONNECTIONS: usize = 4;
    const STREAMS: usize = 128;
    let program = with_metrics("{}");
    let resident = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
    };
    let before = resident();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut held = Vec::new();
    let upload = Bytes::from(vec![b'x'; UPLOAD]);
    for _ in 0..CONNECTIONS {
        let mut sender = runtime.block_on(async {
            let stream = TokioIo::new(tokio::net::TcpStream::connect(program.address()).await.unwrap());
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        for _ in 0..STREAMS {
            let octets = Ok::<_, std::convert::Infallible>(Frame::data(upload.clone()));
            let body = StreamBody::new(stream::iter([octets]).chain(stream::pending()));
            let request = http::Request::post("http://test/length").body(body).unwrap();
            held.push(tokio::spawn(sender.send_request(request)));
        }
    }
    // What waits in memory is counted in steps.
    let sent = (CONNECTIONS * STREAMS * UPLOAD) as u64;
    wait_until("all of them are received", &program, || {
        let [memory, disk] = ["memory", "disk"].map(|kind| metric(&program, &format!("ziggurat_spool_{kind}_bytes"), "requests"));
        assert!(memory <= 16 << 20, "{memory}");
        disk + memory >= sent
    });
    let grown = resident() - before;
    // Each connection's window is 4 MiB.
    assert!(grown < (40 + 4 * CONNECTIONS as u64) << 20, "the server grew by {grown}");
    drop((held, runtime));
    wait_until("nothing of them is left", &program, || metric(&program, "ziggurat_spool_", "bytes") == 0);
}

#[test]
fn a_long_body_in_chunks_is_whole_for_the_app() {
    let program = start(r#""workers": 1"#);
    let mut client = program.connect();
    write!(client, "POST /length HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for _ in 0..48 {
        write!(client, "10000\r\n").unwrap();
        client.write_all(&[b'x'; 1 << 16]).unwrap();
        write!(client, "\r\n").unwrap();
    }
    write!(client, "0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n3145728 3145728"), "{answer}");
}

#[test]
fn a_body_that_is_too_long_to_wait_is_refused_and_never_begun() {
    let program = with_metrics(r#"{ "limit": "2MiB" }"#);
    for head in ["Content-Length: 3000000", "Transfer-Encoding: chunked"] {
        let mut client = program.connect();
        write!(client, "POST /length HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{head}\r\n\r\n2DC6C0\r\n").unwrap();
        // The rest may not be taken.
        let _ = client.write_all(&vec![b'x'; 3_000_000]);
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(metric(&program, "ziggurat_wsgi_requests_total", ""), 0);
}
