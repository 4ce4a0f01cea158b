//! The responses that are stored, within bounds, and the requests under way whose responses may be.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use lru::LruCache;
use tokio::time::Instant;

use super::flight::{Flight, Lead, Waiter};
use super::key::Selection;
use super::purge::Purge;
use super::stored::StoredResponse;
use crate::metrics::Counter;

/// The most responses of one URL: what its `Vary` tells apart.
const VARIANTS: usize = 16;
/// The most requests that wait for one response.
const WAITERS: usize = 1024;
/// How many URLs are remembered whose responses were not stored, and for how long.
const PASSES: usize = 16_384;
const PASS_TIME: Duration = Duration::from_secs(120);
/// How long no response is refreshed after the app failed to.
const REFRESH_PAUSE: Duration = Duration::from_secs(5);

/// What a URL costs beside its responses.
const SLOT_OVERHEAD: u64 = 256;

/// How much may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// In octets, with responses that are being received.
    pub(super) total: u64,
    /// URLs.
    pub(super) entries: usize,
}

#[derive(Debug)]
pub(super) struct Store {
    inner: Mutex<Inner>,
    pub(super) evictions: Counter,
    pub(super) purged: Counter,
}

#[derive(Debug)]
struct Inner {
    slots: LruCache<Arc<str>, Slot, RandomState>,
    flights: HashMap<Arc<str>, Vec<Arc<Flight>>>,
    passes: LruCache<Arc<str>, Instant, RandomState>,
    bounds: Bounds,
    /// The responses of all slots, and the octets that these take.
    responses: usize,
    stored: u64,
    receiving: u64,
}

/// The responses of a URL, the newest first.
#[derive(Debug, Default)]
struct Slot {
    responses: Vec<Arc<StoredResponse>>,
    /// No refresh before this time.
    paused: Option<Instant>,
}

/// What a request does that cannot be answered from the cache.
pub(super) enum Entry {
    /// It gets this response, which has been stored meanwhile.
    Found(Arc<StoredResponse>),
    /// It calls the app, and its response may be stored.
    Lead(Lead),
    /// It waits for a call that is under way.
    Wait(Waiter),
    /// It calls the app for itself: too many wait already.
    Alone,
}

impl Store {
    pub(super) fn new(bounds: Bounds) -> Self {
        let inner = Inner {
            slots: LruCache::unbounded_with_hasher(RandomState::new()),
            flights: HashMap::new(),
            passes: LruCache::unbounded_with_hasher(RandomState::new()),
            bounds,
            responses: 0,
            stored: 0,
            receiving: 0,
        };
        Self { inner: Mutex::new(inner), evictions: Counter::default(), purged: Counter::default() }
    }

    /// Sets other bounds, as after a reload.
    pub(super) fn bound(&self, bounds: Bounds) {
        let mut inner = self.lock();
        inner.bounds = bounds;
        self.evict(inner);
    }

    /// The newest response that fits the request, and whether there is one that does not.
    pub(super) fn find(&self, url: &str, request: &HeaderMap) -> (Option<Arc<StoredResponse>>, bool) {
        let mut inner = self.lock();
        let Some(slot) = inner.slots.get(url) else { return (None, false) };
        let found = slot.responses.iter().find(|response| response.selection.fits(request)).cloned();
        (found, !slot.responses.is_empty())
    }

    /// As [`Store::find`], and no use of the response.
    pub(super) fn peek(&self, url: &str, request: &HeaderMap) -> Option<Arc<StoredResponse>> {
        let inner = self.lock();
        inner.slots.peek(url)?.responses.iter().find(|response| response.selection.fits(request)).cloned()
    }

    /// Begins a flight, or waits for one that is under way where the response can be shared with others.
    pub(super) fn enter(self: &Arc<Self>, url: &Arc<str>, request: &HeaderMap, is_shared: bool) -> Entry {
        let now = Instant::now();
        let mut inner = self.lock();
        let slot = inner.slots.peek(&**url);
        let fitting = slot.and_then(|slot| slot.responses.iter().find(|response| response.selection.fits(request)));
        if is_shared && let Some(found) = fitting.filter(|response| response.freshness.is_fresh(now)) {
            return Entry::Found(Arc::clone(found));
        }
        let is_never_fresh = slot.is_some_and(|slot| slot.responses.iter().any(|response| response.freshness.is_never_fresh()));
        let selection = slot.map(|slot| slot.selection(request)).unwrap_or_default();
        let is_passed = inner.passes.peek(&**url).is_some_and(|until| *until > now);
        let is_shared = is_shared && !is_never_fresh && !is_passed;
        let flights = inner.flights.entry(Arc::clone(url)).or_default();
        if is_shared && let Some(flight) = flights.iter().find(|flight| flight.takes(request)) {
            return if flight.waiting() < WAITERS { Entry::Wait(flight.wait()) } else { Entry::Alone };
        }
        let flight = Arc::new(Flight::new(selection, is_shared));
        flights.push(Arc::clone(&flight));
        Entry::Lead(Lead { store: Arc::clone(self), url: Arc::clone(url), flight })
    }

    /// Whether the response of a URL may be refreshed now: nobody fetches it, and the app has not just failed to answer.
    pub(super) fn may_refresh(&self, url: &str) -> bool {
        let inner = self.lock();
        !inner.flights.contains_key(url)
            && inner.slots.peek(url).is_some_and(|slot| slot.paused.is_none_or(|until| until <= Instant::now()))
    }

    /// The app has failed: it is left in peace for a while.
    pub(super) fn pause(&self, url: &str) {
        if let Some(slot) = self.lock().slots.peek_mut(url) {
            slot.paused = Some(Instant::now() + REFRESH_PAUSE);
        }
    }

    /// Takes room for octets of a response that is being received. Returns false, and takes none, if there is too little even without what is stored.
    pub(super) fn receive(&self, octets: u64) -> bool {
        let mut inner = self.lock();
        let has_room = inner.receiving.saturating_add(octets) <= inner.bounds.total;
        if has_room {
            inner.receiving += octets;
            self.evict(inner);
        }
        has_room
    }

    /// Gives such room back.
    pub(super) fn received(&self, octets: u64) {
        let mut inner = self.lock();
        inner.receiving = inner.receiving.saturating_sub(octets);
    }

    pub(super) fn insert(&self, url: &Arc<str>, flight: &Flight, response: Arc<StoredResponse>, request: &HeaderMap) -> bool {
        let mut inner = self.lock();
        if flight.is_void() {
            return false;
        }
        inner.passes.pop(&**url);
        let mut slot = inner.take(url).unwrap_or_default();
        slot.paused = None;
        slot.responses.retain(|known| !known.selection.fits(request));
        slot.responses.truncate(VARIANTS - 1);
        slot.responses.insert(0, response);
        inner.put(Arc::clone(url), slot);
        self.evict(inner);
        true
    }

    /// Removes the responses that fit a request.
    pub(super) fn remove(&self, url: &Arc<str>, request: &HeaderMap) {
        let mut inner = self.lock();
        let Some(mut slot) = inner.take(url) else { return };
        slot.responses.retain(|known| !known.selection.fits(request));
        if !slot.responses.is_empty() {
            inner.put(Arc::clone(url), slot);
        }
    }

    /// Puts another response in the place of a stored one, or removes it, unless it is not there any more.
    pub(super) fn replace(&self, url: &Arc<str>, known: &Arc<StoredResponse>, by: Option<StoredResponse>) {
        let mut inner = self.lock();
        let Some(mut slot) = inner.take(url) else { return };
        if let Some(at) = slot.responses.iter().position(|response| Arc::ptr_eq(response, known)) {
            match by {
                Some(response) => slot.responses[at] = Arc::new(response),
                None => drop(slot.responses.remove(at)),
            }
        }
        if !slot.responses.is_empty() {
            inner.put(Arc::clone(url), slot);
        }
        self.evict(inner);
    }

    /// Removes the responses of a URL, and those that are being fetched do not get in.
    pub(super) fn invalidate(&self, url: &str) {
        let mut inner = self.lock();
        let slot = inner.take(url);
        for flight in inner.flights.get(url).into_iter().flatten() {
            flight.void();
        }
        drop(inner);
        drop(slot);
    }

    /// Removes what is named, and returns the number of responses.
    pub(super) fn purge(&self, purge: &Purge) -> usize {
        let mut inner = self.lock();
        for (url, flights) in &inner.flights {
            if purge.may_name(url) {
                flights.iter().for_each(|flight| flight.void());
            }
        }
        let mut count = 0;
        let is_meant =
            |url: &str, slot: &Slot| purge.names_url(url) || slot.responses.iter().any(|response| purge.names_response(response));
        let urls: Vec<_> = inner.slots.iter().filter(|(url, slot)| is_meant(url, slot)).map(|(url, _)| Arc::clone(url)).collect();
        for url in urls {
            let Some(mut slot) = inner.take(&url) else { continue };
            let before = slot.responses.len();
            if purge.names_url(&url) {
                slot.responses.clear();
            } else {
                slot.responses.retain(|response| !purge.names_response(response));
            }
            count += before - slot.responses.len();
            if !slot.responses.is_empty() {
                inner.put(url, slot);
            }
        }
        self.purged.add(count as u64);
        count
    }

    /// The URL's responses cannot be stored: requests do not wait for each other for a while.
    pub(super) fn pass(&self, url: &Arc<str>) {
        let mut inner = self.lock();
        inner.passes.put(Arc::clone(url), Instant::now() + PASS_TIME);
        if inner.passes.len() > PASSES {
            inner.passes.pop_lru();
        }
    }

    pub(super) fn end(&self, url: &str, flight: &Arc<Flight>) {
        let mut inner = self.lock();
        let Some(flights) = inner.flights.get_mut(url) else { return };
        flights.retain(|known| !Arc::ptr_eq(known, flight));
        if flights.is_empty() {
            inner.flights.remove(url);
        }
    }

    /// URLs and responses that are stored, and the octets that they and those being received take.
    pub(super) fn sizes(&self) -> (usize, usize, u64) {
        let inner = self.lock();
        (inner.slots.len(), inner.responses, inner.stored + inner.receiving)
    }

    /// Removes what was used longest ago until the bounds hold.
    fn evict(&self, mut inner: MutexGuard<'_, Inner>) {
        let mut evicted = Vec::new();
        while inner.stored + inner.receiving > inner.bounds.total || inner.slots.len() > inner.bounds.entries {
            let Some((url, slot)) = inner.slots.pop_lru() else { break };
            inner.forget(&url, &slot);
            evicted.push(slot);
        }
        drop(inner);
        self.evictions.add(evicted.iter().map(|slot| slot.responses.len() as u64).sum());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, url: &str) -> Option<Slot> {
        let slot = self.slots.pop(url)?;
        self.forget(url, &slot);
        Some(slot)
    }

    fn forget(&mut self, url: &str, slot: &Slot) {
        self.stored -= slot.octets(url);
        self.responses -= slot.responses.len();
    }

    fn put(&mut self, url: Arc<str>, slot: Slot) {
        self.stored += slot.octets(&url);
        self.responses += slot.responses.len();
        self.slots.put(url, slot);
    }
}

impl Slot {
    fn octets(&self, url: &str) -> u64 {
        SLOT_OVERHEAD + url.len() as u64 + self.responses.iter().map(|response| response.octets()).sum::<u64>()
    }

    /// What a request has in the headers that the responses vary by.
    fn selection(&self, request: &HeaderMap) -> Selection {
        self.responses.first().map(|response| response.selection.of_same_headers(request)).unwrap_or_default()
    }
}
