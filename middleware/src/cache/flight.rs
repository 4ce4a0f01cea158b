//! One call of the app that several requests wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http::HeaderMap;
use tokio::sync::watch;

use super::key::Selection;
use super::store::Store;
use super::stored::StoredResponse;

/// How a flight ended, for those who wait.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    /// With a response that may be used.
    Response(Arc<StoredResponse>),
    /// With nothing for others.
    Nothing,
}

/// A request under way whose response may be stored.
#[derive(Debug)]
pub(super) struct Flight {
    /// What the first request has in the headers that responses of this URL are known to vary by.
    selection: Selection,
    is_shared: bool,
    /// The URL was invalidated meanwhile: the response is of before.
    is_void: AtomicBool,
    landing: watch::Sender<Option<Landing>>,
}

impl Flight {
    pub(super) fn new(selection: Selection, is_shared: bool) -> Self {
        Self { selection, is_shared, is_void: AtomicBool::new(false), landing: watch::Sender::new(None) }
    }

    /// Whether others may wait for it.
    pub(super) const fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether its response is likely to fit a request with these headers.
    pub(super) fn takes(&self, request: &HeaderMap) -> bool {
        self.is_shared && !self.is_void() && self.selection.fits(request)
    }

    /// The number of requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.landing.receiver_count()
    }

    /// Waits until nobody waits.
    pub(super) async fn abandoned(&self) {
        self.landing.closed().await;
    }

    pub(super) fn wait(&self) -> Waiter {
        Waiter(self.landing.subscribe())
    }

    pub(super) fn void(&self) {
        self.is_void.store(true, Relaxed);
    }

    pub(super) fn is_void(&self) -> bool {
        self.is_void.load(Relaxed)
    }

    fn land(&self, landing: Landing) {
        self.landing.send_if_modified(|slot| slot.is_none() && slot.replace(landing).is_none());
    }
}

/// A request that waits for a flight.
#[derive(Debug)]
pub(super) struct Waiter(watch::Receiver<Option<Landing>>);

impl Waiter {
    pub(super) async fn landing(mut self) -> Landing {
        let landing = self.0.wait_for(Option::is_some).await;
        landing.ok().and_then(|landing| landing.clone()).unwrap_or(Landing::Nothing)
    }
}

/// The request that makes the call. Dropping it ends the flight.
#[derive(Debug)]
pub(super) struct Lead {
    pub(super) store: Arc<Store>,
    pub(super) url: Arc<str>,
    pub(super) flight: Arc<Flight>,
}

impl Lead {
    /// Stores the response, in place of those that fit the same request. Whoever waits gets it if it can be used as it is. Returns whether it is stored.
    pub(super) fn store(self, response: &Arc<StoredResponse>, request: &HeaderMap) -> bool {
        let is_stored = self.store.insert(&self.url, &self.flight, Arc::clone(response), request);
        if response.freshness.is_fresh(tokio::time::Instant::now()) && !self.flight.is_void() {
            self.flight.land(Landing::Response(Arc::clone(response)));
        }
        is_stored
    }

    /// Whoever waits gets this response, which is stored already.
    pub(super) fn give(self, response: &Arc<StoredResponse>) {
        self.flight.land(Landing::Response(Arc::clone(response)));
    }

    /// The response is for one client only. Later requests of the URL do not wait for each other for a while.
    pub(super) fn pass(self) {
        if self.flight.is_shared() {
            self.store.pass(&self.url);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.store.end(&self.url, &self.flight);
        self.flight.land(Landing::Nothing);
    }
}
