//! The listeners at work.

use std::io;
use std::task::{Context, Poll};

use super::listener::SocketFile;
use super::socket::{Acceptor, Socket};
use super::{Listen, Listener};

/// All listeners, which take turns.
pub(super) struct Doors {
    doors: Vec<Door>,
    first: usize,
}

/// A listener that is registered with the runtime.
pub(super) struct Door {
    listen: Listen,
    acceptor: Acceptor,
    file: Option<SocketFile>,
}

impl Doors {
    pub(super) const fn new(doors: Vec<Door>) -> Self {
        Self { doors, first: 0 }
    }

    /// The next connection of any listener.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        for turn in 0..self.doors.len() {
            let at = (self.first + turn) % self.doors.len();
            if let Poll::Ready(socket) = self.doors[at].acceptor.poll_accept(cx) {
                self.first = at + 1;
                return Poll::Ready(socket);
            }
        }
        Poll::Pending
    }

    /// Closes the listeners that are not of `kept` and takes in `added`. Gives the clients who waited at those that closed.
    pub(super) fn exchange(&mut self, kept: &[Listen], added: Vec<Door>) -> Vec<Socket> {
        let (kept, closed): (Vec<_>, Vec<_>) = self.doors.drain(..).partition(|door| kept.contains(&door.listen));
        self.doors = kept;
        self.doors.extend(added);
        closed.into_iter().flat_map(Door::close).collect()
    }
}

impl Door {
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
