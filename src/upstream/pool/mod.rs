//! The connections to one endpoint.
//!
//! A request gets the idle connection that was used last. If there is none, the pool opens one, and the request takes what comes first: the new connection, or one that
//! another request gives back. Shared connections, which carry several exchanges at once, are opened one at a time, when the others are full.

mod state;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use http::request::Parts;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::failure::{Failure, FailureKind, FailurePhase};
use super::protocol::{Connection, Protocol};
use super::target::Address;
use state::{Checkout, Idle, State, Waiter};

/// Connections to one endpoint.
pub(crate) struct Pool<P: Protocol>(Arc<Inner<P>>);

struct Inner<P: Protocol> {
    protocol: Arc<P>,
    address: Address,
    /// The host, if connections are encrypted.
    tls: Option<Box<str>>,
    timeouts: PoolTimeouts,
    state: Mutex<State<P>>,
}

/// The timeouts of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolTimeouts {
    /// Opening a connection.
    pub(crate) connect: Duration,
    /// Waiting for room on shared connections.
    pub(crate) wait: Duration,
}

/// The longest time for which a connection is idle. Servers close idle connections after 5 s (Node.js) or later. A request on a connection that the server closes at the same moment fails.
const IDLE_TIME: Duration = Duration::from_secs(4);

/// The most idle connections.
const MOST_IDLE: usize = 128;

/// The most shared connections.
const MOST_SHARED: usize = 8;

/// The longest life of a connection. Behind another balancer, new connections reach new servers.
const AGE: Duration = Duration::from_secs(600);

/// How long a connection may take to become ready after an exchange.
const SETTLE: Duration = Duration::from_secs(1);

impl<P: Protocol> Clone for Pool<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Protocol> Pool<P> {
    /// A pool without connections.
    pub(crate) fn new(protocol: Arc<P>, address: Address, tls: Option<Box<str>>, timeouts: PoolTimeouts) -> Self {
        let state = State::new(protocol.may_share(tls.as_deref()));
        Self(Arc::new(Inner { protocol, address, tls, timeouts, state: Mutex::new(state) }))
    }

    /// A connection for one exchange. With `fresh`, it has carried none before.
    pub(crate) async fn checkout(&self, fresh: bool) -> Result<Lease<P>, Failure> {
        if !P::KEEPS_CONNECTIONS {
            return self.checkout_exclusive(None).await;
        }
        let receiver = {
            let mut state = self.0.lock();
            if !fresh && let Some(checkout) = state.take(Instant::now()) {
                drop(state);
                return Ok(Lease::new(&self.0, checkout).claim());
            }
            let (sender, receiver) = oneshot::channel();
            state.waiters.push_back(Waiter { fresh, sender });
            self.dial(&mut state);
            receiver
        };
        let longest = self.0.timeouts.connect.max(self.0.timeouts.wait) + SETTLE;
        match timeout(longest, receiver).await {
            Ok(Ok(Ok(lease))) => Ok(lease.claim()),
            Ok(Ok(Err(failure))) => Err(failure),
            Ok(Err(_)) => Err(Failure::unreachable("the pool is closed")),
            Err(_) => Err(Failure::new(FailureKind::Full, FailurePhase::Connect, "no connection had room in time")),
        }
    }

    /// What a connection for this request has to begin with, if anything.
    pub(crate) fn preface(&self, request: &Parts) -> Option<Vec<u8>> {
        self.0.protocol.preface(request)
    }

    /// A new connection for one exchange that shared connections do not take, or one with this preface, which carries no further exchange.
    pub(crate) async fn checkout_exclusive(&self, preface: Option<&[u8]>) -> Result<Lease<P>, Failure> {
        let Inner { protocol, address, tls, .. } = &*self.0;
        let connection = self.0.in_time(protocol.open_exclusive(address, tls.as_deref(), preface)).await?;
        self.0.lock().opened += 1;
        let checkout = Checkout { connection, shared: None, until: Instant::now() + AGE, is_reused: false, is_alone: preface.is_some() };
        Ok(Lease::new(&self.0, checkout).claim())
    }

    /// A connection outside of the pool, for health checks.
    pub(crate) async fn open(&self) -> Result<P::Connection, Failure> {
        self.0.open().await
    }

    /// Closes idle connections. Connections in use are closed after their exchanges.
    pub(crate) fn close(&self) {
        self.0.lock().close();
    }

    /// The number of open connections, and of idle ones among them.
    pub(crate) fn connections(&self) -> (usize, usize) {
        self.0.lock().connections()
    }

    /// Opens connections for waiters.
    fn dial(&self, state: &mut State<P>) {
        while state.shall_dial() {
            state.dialing += 1;
            let pool = self.clone();
            tokio::spawn(async move {
                let opened = pool.0.open().await;
                let mut state = pool.0.lock();
                state.dialing -= 1;
                match opened {
                    Ok(connection) => pool.0.put_new(&mut state, connection),
                    Err(failure) => state.fail(&failure),
                }
                pool.dial(&mut state);
            });
        }
    }
}

impl<P: Protocol> Inner<P> {
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self) -> Result<P::Connection, Failure> {
        self.in_time(self.protocol.open(&self.address, self.tls.as_deref())).await
    }

    async fn in_time(&self, open: impl Future<Output = Result<P::Connection, Failure>>) -> Result<P::Connection, Failure> {
        match timeout(self.timeouts.connect, open).await {
            Ok(opened) => opened,
            Err(_) => {
                Err(Failure::new(FailureKind::Timeout, FailurePhase::Connect, format!("no connection within {:?}", self.timeouts.connect)))
            }
        }
    }

    fn put_new(self: &Arc<Self>, state: &mut State<P>, connection: P::Connection) {
        let until = Instant::now() + AGE.mul_f64(0.9 + 0.2 * fastrand::f64());
        match connection.share() {
            Some(_) => state.put_shared(self, connection, until),
            None => {
                state.is_shared = false;
                state.opened += 1;
                self.put(state, Idle { connection, until, idle_since: Instant::now(), is_reused: false });
            }
        }
    }

    /// Hands a connection to a waiter, or keeps it.
    fn put(self: &Arc<Self>, state: &mut State<P>, idle: Idle<P::Connection>) {
        let now = Instant::now();
        let Some(mut idle) = state.hand(self, idle) else { return };
        if state.is_closed || now >= idle.until || state.idle.len() >= MOST_IDLE {
            state.opened -= 1;
            return;
        }
        idle.idle_since = now;
        idle.is_reused = true;
        state.idle.push_back(idle);
        if !state.is_swept {
            state.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Closes connections that have been idle for too long. Ends when none is idle.
async fn sweep<P: Protocol>(pool: Weak<Inner<P>>) {
    loop {
        let Some(strong) = pool.upgrade() else { return };
        let next = {
            let mut state = strong.lock();
            let next = state.sweep(Instant::now());
            state.is_swept = next.is_some();
            next
        };
        drop(strong);
        match next {
            Some(at) => sleep_until(at).await,
            None => return,
        }
    }
}

/// A connection in use. [`Lease::release`] gives it back. Dropped, an exclusive connection is closed, and a shared one goes on without this exchange.
pub(crate) struct Lease<P: Protocol> {
    pool: Arc<Inner<P>>,
    /// `None` after it was given back.
    checkout: Option<Checkout<P::Connection>>,
    /// Whether the request has received it. An unclaimed connection is unused and goes back to the pool.
    is_claimed: bool,
}

impl<P: Protocol> Lease<P> {
    fn new(pool: &Arc<Inner<P>>, checkout: Checkout<P::Connection>) -> Self {
        Self { pool: Arc::clone(pool), checkout: Some(checkout), is_claimed: false }
    }

    fn claim(mut self) -> Self {
        self.is_claimed = true;
        self
    }

    /// Takes the connection out. The caller holds the lock of the pool.
    fn take(mut self) -> Option<Checkout<P::Connection>> {
        self.checkout.take()
    }

    /// The connection.
    pub(crate) fn connection(&mut self) -> Option<&mut P::Connection> {
        self.checkout.as_mut().map(|checkout| &mut checkout.connection)
    }

    /// Whether it has carried an exchange before, or was idle.
    pub(crate) fn is_reused(&self) -> bool {
        self.checkout.as_ref().is_some_and(|checkout| checkout.is_reused)
    }

    /// Gives it back after a complete exchange.
    pub(crate) fn release(mut self) {
        let Some(checkout) = self.checkout.take() else { return };
        let pool = Arc::clone(&self.pool);
        if checkout.shared.is_some() {
            pool.leave(checkout);
            return;
        }
        if checkout.is_alone {
            return pool.discard();
        }
        let mut idle = Idle { is_reused: true, ..Idle::from(checkout) };
        let is_ready = if idle.connection.is_open() { idle.connection.ready().now_or_never() } else { Some(false) };
        match is_ready {
            Some(true) => pool.put(&mut pool.lock(), idle),
            Some(false) => pool.discard(),
            // The task that drives the connection has to see the end of the exchange first.
            None => drop(tokio::spawn(async move {
                match timeout(SETTLE, idle.connection.ready()).await {
                    Ok(true) => pool.put(&mut pool.lock(), idle),
                    _ => pool.discard(),
                }
            })),
        }
    }
}

/// What counts a connection while it is a tunnel.
pub(crate) struct TunnelLease<P: Protocol> {
    pool: Arc<Inner<P>>,
    /// Of a shared connection, which goes on. `None` for an exclusive one: its handle is large, and it carries no further exchange.
    shared: Option<Lease<P>>,
}

impl<P: Protocol> Lease<P> {
    /// Keeps only what counts the connection.
    pub(crate) fn into_tunnel(mut self) -> TunnelLease<P> {
        let pool = Arc::clone(&self.pool);
        let is_shared = self.checkout.as_ref().is_some_and(|checkout| checkout.shared.is_some());
        let shared = if is_shared {
            Some(self)
        } else {
            self.checkout = None;
            None
        };
        TunnelLease { pool, shared }
    }
}

impl<P: Protocol> Drop for TunnelLease<P> {
    fn drop(&mut self) {
        if self.shared.is_none() {
            self.pool.discard();
        }
    }
}

impl<P: Protocol> Drop for Lease<P> {
    fn drop(&mut self) {
        let Some(checkout) = self.checkout.take() else { return };
        if checkout.shared.is_some() {
            self.pool.leave(checkout);
        } else if self.is_claimed {
            self.pool.discard();
        } else {
            self.pool.put(&mut self.pool.lock(), checkout.into());
        }
    }
}

impl<P: Protocol> Inner<P> {
    /// Ends an exchange on a shared connection.
    fn leave(self: &Arc<Self>, checkout: Checkout<P::Connection>) {
        let mut state = self.lock();
        state.leave(self, &checkout);
        Pool(Arc::clone(self)).dial(&mut state);
        drop(state);
        // Outside of the lock, for it may be the last handle of the connection.
        drop(checkout);
    }

    /// Counts a closed exclusive connection.
    fn discard(&self) {
        self.lock().opened -= 1;
    }
}
