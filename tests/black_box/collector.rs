//! A collector of OTLP over HTTP that keeps what it gets, and answers as a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::support::{PATIENCE, virtual_env};

/// A collector that runs as long as the test.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    heads: Vec<String>,
    bodies: Vec<Vec<u8>>,
}

impl Collector {
    /// Answers each request with these octets, and closes the connection. Without any it is silent.
    pub(crate) fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Received::default()));
        let keep = Arc::clone(&received);
        thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming().flatten() {
                let stream = receive(stream, answer, &keep);
                if answer.is_empty() {
                    open.push(stream);
                }
            }
        });
        Self { address, received }
    }

    pub(crate) fn new() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }

    pub(crate) fn requests(&self) -> usize {
        self.received.lock().unwrap().bodies.len()
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.received.lock().unwrap().heads.clone()
    }

    /// Waits until spans like these are there, and gives all.
    pub(crate) fn wait_for(&self, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        let mut seen = 0;
        loop {
            let requests = self.requests();
            if requests > seen {
                seen = requests;
                let spans = self.spans();
                if holds(&spans) {
                    return spans;
                }
            }
            assert!(Instant::now() < until, "waited in vain for {what}: {:#?}", self.spans());
            thread::yield_now();
        }
    }

    fn spans(&self) -> Vec<Value> {
        let mut input = Vec::new();
        for body in &self.received.lock().unwrap().bodies {
            input.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
            input.extend_from_slice(body);
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/black_box/spans.py");
        let mut python =
            Command::new(virtual_env().join("bin/python")).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        python.stdin.take().unwrap().write_all(&input).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn receive(stream: TcpStream, answer: &str, received: &Mutex<Received>) -> TcpStream {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return reader.into_inner();
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_ok() {
        let mut received = received.lock().unwrap();
        received.heads.push(head);
        received.bodies.push(body);
    }
    let mut stream = reader.into_inner();
    let _ = stream.write_all(answer.as_bytes());
    stream
}
