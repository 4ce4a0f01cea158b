//! The keys of session tickets (RFC 8446 section 4.6.1, RFC 5077), which outlive a reload.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

use super::options::{ExpiredCrl, MinVersion};

/// Ticket keys by the policy that sessions were opened under.
///
/// rustls takes what a ticket says for verified, the client's certificate included. So a ticket must not be accepted under another policy than the one that it was
/// issued under: each policy has keys of its own. They are kept as long as a listener has the policy.
#[derive(Debug, Default)]
pub struct Tickets(Mutex<HashMap<PolicyIdentity, Weak<dyn ProducesTickets>>>);

/// All that decides which clients a listener accepts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PolicyIdentity {
    /// The listener: its certificates are its own.
    pub(super) listener: String,
    pub(super) min: MinVersion,
    pub(super) client: Option<ClientIdentity>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientIdentity {
    pub(super) authorities: Vec<Vec<u8>>,
    pub(super) lists: Vec<Vec<u8>>,
    pub(super) expired_crl: ExpiredCrl,
    pub(super) required: bool,
}

impl Tickets {
    /// The keys of a policy. They change every 6 hours, and the last ones are accepted for as long.
    pub(super) fn of(&self, identity: PolicyIdentity) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        let mut known = self.known();
        if let Some(keys) = known.get(&identity).and_then(Weak::upgrade) {
            return Ok(keys);
        }
        let keys = Ticketer::new()?;
        known.retain(|_, keys| keys.strong_count() > 0);
        known.insert(identity, Arc::downgrade(&keys));
        Ok(keys)
    }

    /// Gives up keys that are too old. rustls does so only when a ticket is issued.
    pub fn rotate(&self) {
        let known: Vec<_> = self.known().values().filter_map(Weak::upgrade).collect();
        for keys in known {
            keys.encrypt(&[]);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PolicyIdentity, Weak<dyn ProducesTickets>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
