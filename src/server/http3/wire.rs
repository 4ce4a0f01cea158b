//! What the streams of a QUIC connection share.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::future::BoxFuture;
use h3::error::Code;
use quinn::VarInt;

use crate::server::flood::FloodBudget;
use crate::server::refusal::Refusal;

/// How many field sections of the greatest length may wait at once until they are whole.
const SECTIONS: usize = 16;

/// A QUIC connection, and what its client has cost so far.
pub(super) struct Wire {
    pub(super) connection: quinn::Connection,
    /// The most octets of a field section.
    pub(super) header_size: usize,
    flood: Mutex<FloodBudget>,
    /// Octets of field sections that are not whole yet.
    waiting: AtomicUsize,
    /// The request stream that h3 has accepted last.
    newest: Mutex<Option<Arc<RequestStreamState>>>,
}

/// What h3 does not tell about a request stream.
pub(super) struct RequestStreamState {
    /// Why the head is refused. h3 reads another one in its place.
    pub(super) refusal: OnceLock<Refusal>,
    stopped: Mutex<Option<Stopped>>,
}

/// Ready when the client has acknowledged all of the response, or wants no more of it: whether it is the latter.
pub(super) type Stopped = BoxFuture<'static, bool>;

impl Wire {
    pub(super) fn new(connection: quinn::Connection, header_size: usize) -> Self {
        let flood = Mutex::new(FloodBudget::new());
        Self { connection, header_size, flood, waiting: AtomicUsize::new(0), newest: Mutex::default() }
    }

    /// Counts something that does nothing. Ends the connection if there is too much of it.
    pub(super) fn spend(&self) {
        if !lock(&self.flood).spend() {
            self.close(Code::H3_EXCESSIVE_LOAD, "too many frames and streams that do nothing");
        }
    }

    /// Counts octets that are sent.
    pub(super) fn note_written(&self, octets: usize) {
        lock(&self.flood).note_written(octets);
    }

    pub(super) fn close(&self, code: Code, reason: &str) {
        self.connection.close(var_int(code.value()), reason.as_bytes());
    }

    /// Replaces what a stream keeps of a field section that is not whole. Returns whether there is room for it.
    pub(super) fn keep(&self, before: usize, now: usize) -> bool {
        if now > before {
            let all = self.waiting.fetch_add(now - before, Relaxed) + now - before;
            return all <= self.header_size.saturating_mul(SECTIONS);
        }
        self.waiting.fetch_sub(before - now, Relaxed);
        true
    }

    /// Notes a request stream that h3 accepts.
    pub(super) fn accept(&self, stream: &quinn::SendStream) -> Arc<RequestStreamState> {
        let stopped = stream.stopped();
        let stopped: Stopped = Box::pin(async move { !matches!(stopped.await, Ok(None)) });
        let state = Arc::new(RequestStreamState { refusal: OnceLock::new(), stopped: Mutex::new(Some(stopped)) });
        *lock(&self.newest) = Some(Arc::clone(&state));
        state
    }

    /// The state of the request stream that h3 has accepted last.
    pub(super) fn take_accepted(&self) -> Option<Arc<RequestStreamState>> {
        lock(&self.newest).take()
    }
}

impl RequestStreamState {
    /// Can be taken once.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        lock(&self.stopped).take()
    }
}

/// An error code, which is small.
pub(super) fn var_int(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
