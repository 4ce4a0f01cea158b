//! Clients that ask in turn until they are told to stop, while something is done to the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::site::wait_until;
use crate::support::{PATIENCE, Program};

/// A load under way.
pub(crate) struct Load<'a> {
    program: &'a Program,
    answered: &'a AtomicUsize,
}

impl Load<'_> {
    /// Waits until so many more requests are answered.
    pub(crate) fn wait_for(&self, more: usize) {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        wait_until("requests are answered", self.program, || self.answered.load(Ordering::Relaxed) >= wanted);
    }
}

/// Asks for `path` with so many clients while `harm` is done, and gives the statuses of all answers; 0 is a connection that ended without one.
pub(crate) fn under_load(program: &Program, path: &str, clients: usize, harm: impl FnOnce(&Load<'_>)) -> Vec<u16> {
    let address = program.address();
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let client = || client(address, path, &over, &answered);
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        // A harm that fails must not leave clients that never stop.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stop = Over(&over);
        let load = Load { program, answered: &answered };
        load.wait_for(20);
        harm(&load);
        drop(stop);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// One connection for each request. One that is refused is no request.
fn client(address: SocketAddr, path: &str, over: &AtomicBool, answered: &AtomicUsize) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else { break };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        let sent = write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        // A reset after the answer is an end like any other.
        let _ = sent.and_then(|()| stream.read_to_string(&mut answer).map(drop));
        statuses.push(answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0));
        answered.fetch_add(1, Ordering::Relaxed);
    }
    statuses
}
