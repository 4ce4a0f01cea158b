//! Sessions that a logout has ended: known to this process and, where there is a store, to those of other machines.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::session::Session;
use super::spent::Spent;
use crate::store::{Shared, StoreKey};
use crate::{Place, Problem};

pub(super) struct Ended {
    here: Arc<Spent>,
    shared: Option<Shared>,
    place: Place,
}

impl Ended {
    pub(super) const fn new(here: Arc<Spent>, shared: Option<Shared>, place: Place) -> Self {
        Self { here, shared, place }
    }

    /// Whether a session was ended.
    ///
    /// # Errors
    ///
    /// The store does not answer, and the layer is not to decide without.
    pub(super) async fn has(&self, session: &Session) -> Result<bool, Problem> {
        if self.here.is_spent(&session.id) {
            return Ok(true);
        }
        let Some(shared) = &self.shared else { return Ok(false) };
        match shared.store.get(&self.key(session)).await {
            Ok(ended) => Ok(ended.is_some()),
            Err(error) => shared.decides_here(&error).map(|_| false),
        }
    }

    /// Ends a session until a second since 1970 at which it would be over anyway.
    ///
    /// # Errors
    ///
    /// As of [`Ended::has`]. It is ended here all the same.
    pub(super) async fn end(&self, session: &Session, until: u64, now: u64) -> Result<(), Problem> {
        self.here.spend(&session.id, until, now);
        let Some(shared) = &self.shared else { return Ok(()) };
        let left = Duration::from_secs(until.saturating_sub(now).max(1));
        if let Err(error) = shared.store.set(&self.key(session), Bytes::from_static(b"1"), left).await {
            shared.decides_here(&error)?;
            tracing::warn!(place = %self.place, "other machines take a session that was ended here: {error}");
        }
        Ok(())
    }

    /// The id is no secret: only what is sealed with it is taken.
    fn key(&self, session: &Session) -> StoreKey {
        StoreKey::new(&self.place, format_args!("ended:{}", session.id))
    }
}
