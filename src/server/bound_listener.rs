//! The listeners at work.

use std::io;
use std::task::{Context, Poll};

use super::listener::SocketFile;
use super::socket::{Acceptor, Socket};
use super::{Listen, Listener};

/// All listeners, which take turns.
pub(super) struct BoundListeners {
    listeners: Vec<BoundListener>,
    first: usize,
}

/// A listener that is registered with the runtime.
pub(super) struct BoundListener {
    listen: Listen,
    acceptor: Acceptor,
    file: Option<SocketFile>,
}

impl BoundListeners {
    pub(super) const fn new(listeners: Vec<BoundListener>) -> Self {
        Self { listeners, first: 0 }
    }

    /// The next connection of any listener.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        for offset in 0..self.listeners.len() {
            let at = (self.first + offset) % self.listeners.len();
            if let Poll::Ready(socket) = self.listeners[at].acceptor.poll_accept(cx) {
                self.first = at + 1;
                return Poll::Ready(socket);
            }
        }
        Poll::Pending
    }

    /// Closes the listeners that are not of `kept` and takes in `added`. Gives the clients who waited at those that closed.
    pub(super) fn exchange(&mut self, kept: &[Listen], added: Vec<BoundListener>) -> Vec<Socket> {
        let (kept, closed): (Vec<_>, Vec<_>) = self.listeners.drain(..).partition(|listener| kept.contains(&listener.listen));
        self.listeners = kept;
        self.listeners.extend(added);
        closed.into_iter().flat_map(BoundListener::close).collect()
    }
}

impl BoundListener {
    /// Must be called inside the runtime.
    pub(super) fn open(listener: Listener) -> io::Result<Self> {
        let Listener { socket, listen, file, .. } = listener;
        Ok(Self { listen, acceptor: Acceptor::new(socket)?, file })
    }

    fn close(self) -> Vec<Socket> {
        // Those who wait at an inherited socket wait for whoever inherits it next.
        if self.listen.is_inherited() {
            return Vec::new();
        }
        // The file first, so that nobody comes after the last one.
        drop(self.file);
        self.acceptor.into_waiting()
    }
}
