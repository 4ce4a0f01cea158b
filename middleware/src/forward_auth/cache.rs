//! Decisions that are not asked for again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::answer::Pass;

/// The most decisions that are cached, and the most octets of one.
const MOST: usize = 4096;
const LARGEST: usize = 4096;

/// Requests that may pass, by the digest of the question.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<[u8; 32], Entry>>);

struct Entry {
    pass: Pass,
    until: Instant,
}

impl Cache {
    pub(super) fn get(&self, question: &[u8; 32]) -> Option<Pass> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(question).filter(|entry| entry.until > Instant::now()).map(|entry| entry.pass.clone())
    }

    pub(super) fn insert(&self, question: [u8; 32], pass: &Pass, time: Duration) {
        if time.is_zero() || pass.size() > LARGEST {
            return;
        }
        let now = Instant::now();
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST {
            entries.retain(|_, entry| entry.until > now);
        }
        if entries.len() < MOST {
            entries.insert(question, Entry { pass: pass.clone(), until: now + time });
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_holds_so_many_decisions_and_makes_room_when_they_are_over() {
        let (cache, pass) = (Cache::default(), Pass::default());
        let key = |n: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            key
        };
        for n in 0..MOST + 10 {
            cache.insert(key(n), &pass, Duration::from_secs(1));
        }
        assert!(cache.len() == MOST && cache.get(&key(0)).is_some() && cache.get(&key(MOST)).is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(cache.get(&key(0)).is_none());
        cache.insert(key(MOST), &pass, Duration::from_secs(1));
        assert!(cache.len() == 1 && cache.get(&key(MOST)).is_some());
    }
}
