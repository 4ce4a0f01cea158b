//! Servers that are not even WSGI: whatever they send, the run ends, and no case passes that should not.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::server::conform;

/// Answers the question who it is as the app does, and everything else by `answer`; a request for `/exit` ends it.
fn fake(answer: fn(&mut TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let version = crate::server::app().lines().find_map(|line| line.strip_prefix("VERSION = ")).unwrap().trim_matches('"').to_owned();
    let question = format!("GET /version HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{version}", version.len());
    let ended = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (question, response, ended) = (question.clone(), response.clone(), Arc::clone(&ended));
            thread::spawn(move || {
                let mut head = [0; 4096];
                let Ok(length) = stream.read(&mut head) else { return };
                let head = &head[..length];
                if head.starts_with(b"GET /exit ") || ended.load(Ordering::Relaxed) {
                    ended.store(true, Ordering::Relaxed);
                } else if head == question.as_bytes() {
                    let _ = stream.write_all(response.as_bytes());
                } else if !head.starts_with(b"GET /record/") {
                    // Notes are waited for; no answer is one at once.
                    answer(&mut stream);
                }
            });
        }
    });
    address
}

#[test]
fn every_case_fails_with_some_server_that_is_wrong() {
    let answers: [fn(&mut TcpStream); 4] = [
        |stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")),
        |stream| drop(stream.write_all(b"HTTP/1.1 500 Wrong\r\nContent-Length: 5\r\n\r\nwrong")),
        |_| {},
        |stream| drop(stream.write_all(b"SSH-2.0-wrong\r\n")),
    ];
    let (mut all, mut found) = (BTreeSet::new(), BTreeSet::new());
    for answer in answers {
        let results = conform(fake(answer), &[]);
        found.extend(results.found());
        all.extend(results.found().into_iter().chain(results.passed).chain(results.skipped));
    }
    // These want nothing else than the version. `wsgiref` does not pass them (`others`).
    let elsewhere = ["http-version", "slow-client", "slow-body", "idle-connection"];
    let unfound: Vec<_> = all.difference(&found).filter(|id| !elsewhere.contains(&id.as_str())).collect();
    assert!(unfound.is_empty() && all.len() > 200, "{unfound:?} of {}", all.len());
}

#[test]
fn a_server_that_floods_is_cut_off() {
    let flood: fn(&mut TcpStream) = |stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    };
    let results = conform(fake(flood), &["iterable-many"]);
    assert!(results.text(&results.failed).contains("more than 4194304 octets"), "{results:?}");
}
