//! One endpoint of an upstream: its connections and its state.

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
use super::retry::RetryBudget;
use super::sticky::StickyKey;
use super::target::{Address, Target};

/// An address that requests are sent to.
pub(crate) struct Endpoint<P: Protocol> {
    pub(crate) target: Target,
    /// The `Host` of the server itself.
    pub(crate) authority: HeaderValue,
    /// The name in the log, in `status` and in metrics.
    pub(crate) label: Box<str>,
    pub(super) identity: Box<str>,
    pub(super) pool: Pool<P>,
    pub(super) state: Arc<State>,
}

/// The state of an endpoint. It survives a reload.
pub(crate) struct State {
    /// The opaque value in sticky cookies.
    pub(super) id: u64,
    /// The hash of its identity.
    pub(super) seed: u64,
    under_way: AtomicUsize,
    pub(super) tunnels: AtomicUsize,
    pub(super) health: Health,
    pub(super) breaker: Breaker,
    pub(super) counters: Counters,
}

/// The identity of an endpoint over reloads and changes of DNS: its URL and its address. The weight is not part of it.
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

    /// Counts one request more, unless the limit is reached.
    pub(super) fn enter(&self, limit: usize) -> bool {
        self.under_way.fetch_update(SeqCst, SeqCst, |n| (n < limit).then_some(n + 1)).is_ok()
    }

    /// Counts one request less.
    pub(super) fn leave(&self) {
        self.under_way.fetch_sub(1, SeqCst);
    }
}

/// The state of an upstream that survives reloads.
#[derive(Default)]
pub(crate) struct UpstreamState {
    states: Mutex<HashMap<Box<str>, Arc<State>>>,
    key: StickyKey,
    pub(super) queue: Queue,
    pub(super) budget: RetryBudget,
}

/// How many endpoints are remembered, including those that DNS no longer names.
const MOST_GONE: usize = 256;

impl UpstreamState {
    /// The state of the endpoint with this identity.
    pub(super) fn state(&self, identity: &str) -> Arc<State> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if states.len() >= MOST_GONE && !states.contains_key(identity) {
            states.retain(|_, state| Arc::strong_count(state) > 1);
        }
        Arc::clone(states.entry(identity.into()).or_insert_with(|| Arc::new(State::new(identity, &self.key))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_finds_the_state_of_the_same_url_and_address() {
        let kept = UpstreamState::default();
        let target: Target = "http://app:9000/v2".parse().unwrap();
        let identity = |ip: [u8; 4]| identity(&target, &Address::Ip((ip, 9000).into()));
        let first = kept.state(&identity([10, 0, 0, 5]));
        assert!(first.enter(1) && !first.enter(1));
        let again = kept.state(&identity([10, 0, 0, 5]));
        assert!(Arc::ptr_eq(&first, &again) && !again.enter(1));
        assert!(kept.state(&identity([10, 0, 0, 6])).enter(1));
    }

    #[test]
    fn endpoints_that_dns_no_longer_names_are_forgotten_when_there_are_many() {
        let kept = UpstreamState::default();
        let used = kept.state("in use");
        for n in 0..3 * MOST_GONE {
            kept.state(&n.to_string());
            assert!(kept.states.lock().unwrap().len() <= MOST_GONE);
        }
        assert!(Arc::ptr_eq(&used, &kept.state("in use")));
    }
}
