//! What can be used no more: states of logins that are over, and sessions that were ended.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The most entries. When it is full of entries in force, the one that ends first is forgotten.
const MOST: usize = 16_384;

/// Ids, each until a second since 1970.
#[derive(Default)]
pub(super) struct Spent(Mutex<HashMap<String, u64>>);

impl Spent {
    /// Adds an id. Returns whether it is new.
    pub(super) fn spend(&self, id: &str, until: u64, now: u64) -> bool {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.contains_key(id) {
            return false;
        }
        if spent.len() >= MOST {
            spent.retain(|_, until| *until > now);
        }
        if spent.len() >= MOST
            && let Some(first) = spent.iter().min_by_key(|(_, until)| **until).map(|(id, _)| id.clone())
        {
            spent.remove(&first);
        }
        spent.insert(id.to_owned(), until);
        true
    }

    pub(super) fn is_spent(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_spent_once_and_only_so_many_are_remembered() {
        let spent = Spent::default();
        assert!(spent.spend("a", 10, 0) && !spent.spend("a", 10, 0) && spent.is_spent("a") && !spent.is_spent("b"));
        for id in 0..MOST as u64 + 5 {
            assert!(spent.spend(&id.to_string(), 100 + id, 5));
        }
        assert!(spent.len() == MOST && !spent.is_spent("a") && spent.is_spent(&(MOST as u64 + 4).to_string()));
        assert!(spent.spend("later", 1_000_000, 900_000));
        assert_eq!(spent.len(), 1);
    }
}
