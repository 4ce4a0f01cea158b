//! The state of a pool: idle connections, shared connections, waiters.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{IDLE_TIME, Inner, Lease, MOST_SHARED};
use crate::upstream::failure::Failure;
use crate::upstream::protocol::{Connection, Protocol};

pub(super) struct State<P: Protocol> {
    /// Exclusive connections, the one used last at the end.
    pub(super) idle: VecDeque<Idle<P::Connection>>,
    /// The number of open exclusive connections, idle or in use.
    pub(super) opened: usize,
    shared: Vec<Shared<P::Connection>>,
    numbers: u64,
    pub(super) waiters: VecDeque<Waiter<P>>,
    pub(super) dialing: usize,
    /// Whether new connections are expected to be shared.
    pub(super) is_shared: bool,
    /// Whether a task closes idle connections.
    pub(super) is_swept: bool,
    pub(super) is_closed: bool,
}

pub(super) struct Idle<C> {
    pub(super) connection: C,
    /// The end of its life.
    pub(super) until: Instant,
    pub(super) idle_since: Instant,
    /// Whether it has carried an exchange, or was idle: the server may close it just as it is used.
    pub(super) is_reused: bool,
}

struct Shared<C> {
    number: u64,
    connection: C,
    until: Instant,
    in_use: usize,
    is_reused: bool,
}

pub(super) struct Waiter<P: Protocol> {
    /// Takes only a connection that has carried no exchange.
    pub(super) fresh: bool,
    /// A lease, so that a connection goes back if the waiter leaves after it was sent.
    pub(super) sender: oneshot::Sender<Result<Lease<P>, Failure>>,
}

/// A connection for one exchange.
pub(super) struct Checkout<C> {
    pub(super) connection: C,
    /// The number of the connection, if it is shared.
    pub(super) shared: Option<u64>,
    pub(super) until: Instant,
    pub(super) is_reused: bool,
    /// Whether it carries this exchange alone: its preface is about one client.
    pub(super) is_alone: bool,
}

impl<P: Protocol> State<P> {
    pub(super) const fn new(is_shared: bool) -> Self {
        Self {
            idle: VecDeque::new(),
            opened: 0,
            shared: Vec::new(),
            numbers: 0,
            waiters: VecDeque::new(),
            dialing: 0,
            is_shared,
            is_swept: false,
            is_closed: false,
        }
    }

    /// An open connection with room.
    pub(super) fn take(&mut self, now: Instant) -> Option<Checkout<P::Connection>> {
        self.drop_closed(now);
        if let Some(checkout) = self.shared.iter_mut().find_map(Shared::hand) {
            return Some(checkout);
        }
        while let Some(idle) = self.idle.pop_back() {
            if idle.connection.is_open() && now < idle.until && now.duration_since(idle.idle_since) < IDLE_TIME {
                return Some(idle.into());
            }
            self.opened -= 1;
        }
        None
    }

    /// Hands a connection to the first waiter that takes it, or gives it back.
    pub(super) fn hand(&mut self, pool: &Arc<Inner<P>>, mut idle: Idle<P::Connection>) -> Option<Idle<P::Connection>> {
        loop {
            let takes = |waiter: &Waiter<P>| !(waiter.sender.is_closed() || waiter.fresh && idle.is_reused);
            let at = self.waiters.iter().position(takes);
            let Some(waiter) = at.and_then(|at| self.waiters.remove(at)) else { return Some(idle) };
            match waiter.sender.send(Ok(Lease::new(pool, idle.into()))) {
                Ok(()) => return None,
                // The waiter left at this moment.
                Err(unsent) => idle = unsent.ok().and_then(Lease::take)?.into(),
            }
        }
    }

    pub(super) fn put_shared(&mut self, pool: &Arc<Inner<P>>, connection: P::Connection, until: Instant) {
        self.is_shared = true;
        self.numbers += 1;
        let number = self.numbers;
        self.shared.push(Shared { number, connection, until, in_use: 0, is_reused: false });
        self.serve(pool);
        if let Some(new) = self.shared.last_mut().filter(|new| new.in_use == 0) {
            new.is_reused = true;
        }
    }

    /// Hands room on shared connections to waiters.
    fn serve(&mut self, pool: &Arc<Inner<P>>) {
        self.waiters.retain(|waiter| !waiter.sender.is_closed());
        while let Some(waiter) = self.waiters.front() {
            let fresh = waiter.fresh;
            let is_full = self.shared.len() >= MOST_SHARED;
            let room = self.shared.iter_mut().filter(|shared| !fresh || !shared.is_reused || is_full);
            let Some(checkout) = room.rev().find_map(Shared::hand) else { return };
            let Some(waiter) = self.waiters.pop_front() else { return };
            if let Err(Ok(lease)) = waiter.sender.send(Ok(Lease::new(pool, checkout)))
                && let Some(checkout) = lease.take()
            {
                self.free(&checkout);
            }
        }
    }

    /// An exchange on a shared connection is over.
    pub(super) fn leave(&mut self, pool: &Arc<Inner<P>>, checkout: &Checkout<P::Connection>) {
        self.free(checkout);
        self.drop_closed(Instant::now());
        self.serve(pool);
    }

    fn free(&mut self, checkout: &Checkout<P::Connection>) {
        if let Some(shared) = self.shared.iter_mut().find(|shared| Some(shared.number) == checkout.shared) {
            shared.in_use -= 1;
        }
    }

    /// Drops shared connections that are closed or too old. Exchanges under way hold handles of their own.
    fn drop_closed(&mut self, now: Instant) {
        self.shared.retain(|shared| shared.connection.is_open() && (now < shared.until));
    }

    /// Whether a waiter needs one more connection.
    pub(super) fn shall_dial(&mut self) -> bool {
        self.waiters.retain(|waiter| !waiter.sender.is_closed());
        if self.is_shared {
            !self.waiters.is_empty() && self.dialing == 0 && self.shared.len() < MOST_SHARED
        } else {
            self.waiters.len() > self.dialing
        }
    }

    /// Reports to waiters that a connection could not be opened: to one, or to all if they wait for the same shared connection.
    pub(super) fn fail(&mut self, failure: &Failure) {
        while let Some(waiter) = self.waiters.pop_front() {
            let is_told = waiter.sender.send(Err(failure.again())).is_ok();
            if is_told && !self.is_shared {
                return;
            }
        }
    }

    /// Drops connections that have been idle for too long, and tells when to look again. `None` if none is idle.
    pub(super) fn sweep(&mut self, now: Instant) -> Option<Instant> {
        let before = self.idle.len();
        self.idle.retain(|idle| idle.connection.is_open() && now.duration_since(idle.idle_since) < IDLE_TIME);
        self.opened -= before - self.idle.len();
        self.idle.iter().map(|idle| idle.idle_since + IDLE_TIME).min()
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.opened -= self.idle.len();
        self.idle.clear();
        self.shared.clear();
    }

    pub(super) fn connections(&self) -> (usize, usize) {
        let unused = self.shared.iter().filter(|shared| shared.in_use == 0).count();
        (self.opened + self.shared.len(), self.idle.len() + unused)
    }
}

impl<C: Connection> Shared<C> {
    fn hand(&mut self) -> Option<Checkout<C>> {
        if self.in_use >= self.connection.capacity() || !self.connection.is_open() {
            return None;
        }
        let connection = self.connection.share()?;
        self.in_use += 1;
        let checkout = Checkout { connection, shared: Some(self.number), until: self.until, is_reused: self.is_reused, is_alone: false };
        self.is_reused = true;
        Some(checkout)
    }
}

impl<C> From<Idle<C>> for Checkout<C> {
    fn from(idle: Idle<C>) -> Self {
        Self { connection: idle.connection, shared: None, until: idle.until, is_reused: idle.is_reused, is_alone: false }
    }
}

impl<C> From<Checkout<C>> for Idle<C> {
    fn from(checkout: Checkout<C>) -> Self {
        Self { connection: checkout.connection, until: checkout.until, idle_since: Instant::now(), is_reused: checkout.is_reused }
    }
}
