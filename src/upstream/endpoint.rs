//! One endpoint of an upstream: its connections, and what is known of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use twox_hash::XxHash3_64;

use super::eject::Breaker;
use super::figures::Counters;
use super::health::Health;
use super::pool::Pool;
use super::protocol::Protocol;
use super::queue::Queue;
use super::retry::Budget;
use super::sticky::StickyKey;
use super::target::{Address, Target};

/// An address that requests are sent to.
pub(crate) struct Endpoint<P: Protocol> {
    pub(crate) target: Target,
    /// The `Host` of the server itself.
    pub(crate) authority: HeaderValue,
    /// How people know it: in the log, in status and in metrics.
    pub(crate) label: Box<str>,
    pub(super) identity: Box<str>,
    pub(super) pool: Pool<P>,
    pub(super) state: Arc<State>,
}

/// What is known of an endpoint. It outlives a reload.
pub(crate) struct State {
    /// Its opaque name in cookies.
    pub(super) id: u64,
    /// The hash of its identity.
    pub(super) seed: u64,
    under_way: AtomicUsize,
    pub(super) tunnels: AtomicUsize,
    pub(super) health: Health,
    pub(super) breaker: Breaker,
    pub(super) counters: Counters,
}

/// What makes an endpoint the same one over reloads and changes of DNS: the URL, the address, and the name that its certificate is for. The weight is not part of it.
pub(super) fn identity(target: &Target, address: &Address) -> Box<str> {
    format!("{target} {address}").into()
}

impl State {
    fn new(identity: &str, key: &StickyKey) -> Self {
        Self {
            id: key.id(identity),
            seed: XxHash3_64::oneshot(identity.as_bytes()),
            under_way: AtomicUsize::new(0),
            tunnels: AtomicUsize::new(0),
            health: Health::default(),
            breaker: Breaker::default(),
            counters: Counters::default(),
        }
    }

    /// Requests and tunnels under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(SeqCst)
    }

    /// One request more, unless there are as many as may be.
    pub(super) fn enter(&self, limit: usize) -> bool {
        self.under_way.fetch_update(SeqCst, SeqCst, |n| (n < limit).then_some(n + 1)).is_ok()
    }

    /// One request less.
    pub(super) fn leave(&self) {
        self.under_way.fetch_sub(1, SeqCst);
    }
}

/// What an upstream keeps over reloads.
#[derive(Default)]
pub(crate) struct Memory {
    states: Mutex<HashMap<Box<str>, Arc<State>>>,
    key: StickyKey,
    pub(super) queue: Queue,
    pub(super) budget: Budget,
}

/// Endpoints that are remembered though they are gone: DNS answers in turns.
const MOST_GONE: usize = 256;

impl Memory {
    /// What is known of the endpoint with this identity.
    pub(super) fn state(&self, identity: &str) -> Arc<State> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if states.len() >= MOST_GONE && !states.contains_key(identity) {
            states.retain(|_, state| Arc::strong_count(state) > 1);
        }
        Arc::clone(states.entry(identity.into()).or_insert_with(|| Arc::new(State::new(identity, &self.key))))
    }
}
