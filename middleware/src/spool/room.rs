//! A bound in octets that several bodies share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// So many octets of memory or disk, and how many of them are taken.
#[derive(Debug)]
pub struct Room {
    limit: u64,
    taken: AtomicU64,
    refusals: AtomicU64,
}

/// A share of a [`Room`]. Dropping it gives the octets back.
#[derive(Debug)]
pub struct Reserved {
    room: Arc<Room>,
    octets: u64,
}

impl Room {
    /// Room for `limit` octets.
    #[must_use]
    pub const fn new(limit: u64) -> Self {
        Self { limit, taken: AtomicU64::new(0), refusals: AtomicU64::new(0) }
    }

    /// All of it.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// The octets that are taken.
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// How often there was too little room.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Relaxed)
    }

    /// A share without octets.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Reserved {
        Reserved { room: Arc::clone(self), octets: 0 }
    }
}

impl Reserved {
    /// Takes so many more octets. Returns false, and takes none, if there is too little room.
    #[must_use]
    pub fn grow(&mut self, octets: u64) -> bool {
        let enough = |taken: u64| taken.checked_add(octets).filter(|taken| *taken <= self.room.limit);
        let has_grown = self.room.taken.fetch_update(Relaxed, Relaxed, enough).is_ok();
        if has_grown {
            self.octets += octets;
        } else {
            self.room.refusals.fetch_add(1, Relaxed);
        }
        has_grown
    }

    /// Gives back what is over `octets`.
    pub fn shrink_to(&mut self, octets: u64) {
        let surplus = self.octets.saturating_sub(octets);
        self.octets -= surplus;
        self.room.taken.fetch_sub(surplus, Relaxed);
    }

    /// The octets of this share.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.octets
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_room_and_give_it_back() {
        let room = Arc::new(Room::new(10));
        let (mut one, mut other) = (room.share(), room.share());
        assert!(one.grow(6) && other.grow(4));
        assert!(!other.grow(1) && !one.grow(u64::MAX));
        assert_eq!((room.taken(), room.refusals(), other.octets()), (10, 2, 4));
        one.shrink_to(5);
        assert!(other.grow(1));
        drop((one, other));
        assert_eq!(room.taken(), 0);
    }
}
