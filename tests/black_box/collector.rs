//! A collector of OTLP over HTTP that keeps what it gets, and answers as a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::support::{PATIENCE, virtual_env};

/// A collector that runs as long as the test.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    answer: &'static str,
    received: Arc<Mutex<Received>>,
    /// Accepts connections until it is told to end.
    server: Option<(thread::JoinHandle<()>, Arc<AtomicBool>)>,
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
        let mut collector = Self { address, answer, received: Arc::default(), server: None };
        collector.serve(listener);
        collector
    }

    fn serve(&mut self, listener: TcpListener) {
        let (answer, keep, is_away) = (self.answer, Arc::clone(&self.received), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&is_away);
        let server = thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming().flatten() {
                if ends.load(SeqCst) {
                    break;
                }
                let stream = receive(stream, answer, &keep);
                if answer.is_empty() {
                    open.push(stream);
                }
            }
        });
        self.server = Some((server, is_away));
    }

    /// From now on, connections are refused.
    pub(crate) fn leave(&mut self) {
        let (server, is_away) = self.server.take().unwrap();
        is_away.store(true, SeqCst);
        drop(TcpStream::connect(self.address));
        server.join().unwrap();
    }

    /// It is there again, at the same address.
    pub(crate) fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.serve(listener);
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
        self.decode("traces")
    }

    /// The metrics of all requests.
    pub(crate) fn metrics(&self) -> Vec<Value> {
        self.decode("metrics")
    }

    /// What requests of this signal say.
    fn decode(&self, signal: &str) -> Vec<Value> {
        let mut input = Vec::new();
        let received = self.received.lock().unwrap();
        for (head, body) in received.heads.iter().zip(&received.bodies) {
            if head.starts_with(&format!("POST /v1/{signal} ")) {
                input.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
                input.extend_from_slice(body);
            }
        }
        drop(received);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/black_box/otlp.py");
        let mut python = Command::new(virtual_env().join("bin/python"))
            .args([script, signal])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
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
