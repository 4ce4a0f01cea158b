//! The program itself as a proxy: reloads, many tunnels, large bodies in bounded memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use crate::black_box::Program;

/// An upstream with a thread for each connection.
pub(crate) fn upstream(serve: impl Fn(TcpStream, String) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for socket in listener.incoming().map(Result::unwrap) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || {
                let head = head(&socket);
                serve(socket, head);
            });
        }
    });
    port
}

pub(crate) fn head(mut socket: &TcpStream) -> String {
    let mut octets = Vec::new();
    while !octets.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        if socket.read(&mut octet).unwrap_or(0) == 0 {
            break;
        }
        octets.push(octet[0]);
    }
    String::from_utf8(octets).unwrap()
}

pub(crate) fn echo(mut socket: TcpStream, head: String) {
    if head.to_lowercase().contains("upgrade: echo") {
        socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").unwrap();
        let mut reader = socket.try_clone().unwrap();
        let _ = std::io::copy(&mut reader, &mut socket);
    } else {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
}

pub(crate) fn tunnel(program: &Program) -> TcpStream {
    let mut socket = program.connect();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").unwrap();
    let head = head(&socket);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    socket
}

fn says(socket: &mut TcpStream, text: &[u8]) {
    socket.write_all(text).unwrap();
    let mut heard = vec![0; text.len()];
    socket.read_exact(&mut heard).unwrap();
    assert_eq!(heard, text);
}

fn memory(program: &Program, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn a_reload_leaves_tunnels_alone() {
    let port = upstream(echo);
    let file = |weight: u32| {
        format!(
            r#"{{ "listen": "127.0.0.1:0", "layers": ["access_log"], "app": {{ "proxy": {{ "to": {{ "at": "http://127.0.0.1:{port}", "weight": {weight} }} }} }} }}"#
        )
    };
    let program = Program::start(&file(1), &[]);
    let mut tunnels: Vec<TcpStream> = (0..50).map(|_| tunnel(&program)).collect();
    for weight in 2..5 {
        std::fs::write(program.folder().join("pipeline.json"), file(weight)).unwrap();
        program.signal("HUP");
        while program.log().matches("reloaded after").count() < weight as usize - 1 {
            thread::yield_now();
        }
        for (n, socket) in tunnels.iter_mut().enumerate() {
            says(socket, format!("tunnel {n} after reload {weight}").as_bytes());
        }
        assert!(program.get("/").ends_with("ok"));
    }
}

#[test]
fn idle_tunnels_cost_little_memory() {
    let port = upstream(echo);
    let program = Program::start(
        &format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "proxy": {{ "to": "http://127.0.0.1:{port}", "limit": 1000 }} }} }}"#),
        &[],
    );
    let mut tunnels: Vec<TcpStream> = (0..50).map(|_| tunnel(&program)).collect();
    let before = memory(&program, "VmRSS");
    tunnels.extend((0..300).map(|_| tunnel(&program)));
    for socket in &mut tunnels {
        says(socket, b"x");
    }
    let each = memory(&program, "VmRSS").saturating_sub(before) / 300;
    assert!(each < 64 << 10, "{each} octets for each tunnel");
    eprintln!("{each} octets for each idle tunnel");
}

#[test]
fn large_bodies_pass_in_both_directions_in_bounded_memory() {
    const LARGE: usize = 256 << 20;
    let received = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&received);
    let port = upstream(move |mut socket, head| {
        let mut piece = vec![b'x'; 64 << 10];
        if head.starts_with("POST") {
            let mut left = LARGE;
            while left > 0 {
                let read = socket.read(&mut piece).unwrap();
                assert_ne!(read, 0);
                left -= read;
                count.fetch_add(read, SeqCst);
            }
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            return;
        }
        write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\nConnection: close\r\n\r\n").unwrap();
        for _ in 0..LARGE / piece.len() {
            if socket.write_all(&piece).is_err() {
                return;
            }
        }
    });
    let program = Program::start(&format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "proxy": "http://127.0.0.1:{port}" }} }}"#), &[]);
    assert_eq!(program.exchange("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").matches("200 OK").count(), 1);
    let before = memory(&program, "VmHWM");
    let mut down = program.connect();
    down.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    head(&down);
    let mut piece = vec![0; 64 << 10];
    let mut left = LARGE;
    while left > 0 {
        let read = down.read(&mut piece).unwrap();
        assert_ne!(read, 0, "{left} octets are missing");
        left -= read;
    }
    let mut up = program.connect();
    write!(up, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\nConnection: close\r\n\r\n").unwrap();
    for _ in 0..LARGE / piece.len() {
        up.write_all(&piece).unwrap();
    }
    let mut answer = String::new();
    up.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
    assert_eq!(received.load(SeqCst), LARGE);
    let grown = memory(&program, "VmHWM") - before;
    assert!(grown < 24 << 20, "{grown} octets more at the peak");
}
