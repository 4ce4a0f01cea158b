//! What several processes share: a store that layers ask for decisions and keep values in.

mod key;
mod on_failure;
mod shared;
#[cfg(test)]
mod test_store;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

pub use self::key::StoreKey;
pub use self::on_failure::OnStoreFailure;
pub(crate) use self::shared::Shared;
#[cfg(test)]
pub(crate) use self::test_store::TestStore;
use crate::rate_limit::{Quota, Verdict};

/// A store that the processes of several machines share: `server.store` of the pipeline file. A layer gets it from [`Context::store`](crate::Context::store).
///
/// The store may be away. Each question then fails at once or after a short time that the store bounds, and the layer does what its options say ([`OnStoreFailure`]).
///
/// | what | methods |
/// | --- | --- |
/// | how much of a rate is used up, by the clock of the store | [`take`](Self::take), [`peek`](Self::peek) |
/// | places of requests under way | [`enter`](Self::enter), [`renew`](Self::renew), [`leave`](Self::leave) |
/// | values that expire, for instance sessions | [`get`](Self::get), [`set`](Self::set), [`delete`](Self::delete) |
pub trait Store: Send + Sync + 'static {
    /// The store in the log and in explanations, without secrets: `redis://redis.internal:6379/0`.
    fn name(&self) -> &str;

    /// Counts a request with this key, and says whether it is within the quota.
    fn take(&self, key: &StoreKey, quota: Quota) -> StoreFuture<Verdict>;

    /// What [`take`](Self::take) would say now. Nothing is counted.
    fn peek(&self, key: &StoreKey, quota: Quota) -> StoreFuture<Verdict>;

    /// Asks for a place, for the first time or again.
    ///
    /// A request that waits asks again, at the latest after half of [`PATIENCE`]; otherwise it loses its turn. A place that it has got is free again if it is not
    /// [renewed](Self::renew) for [`LEASE`].
    fn enter(&self, key: &StoreKey, ticket: Ticket, bounds: PlaceBounds) -> StoreFuture<Turn>;

    /// Keeps a place for another [`LEASE`].
    fn renew(&self, key: &StoreKey, ticket: Ticket) -> StoreFuture<()>;

    /// Gives up a place, or one's turn. If the store does not hear of it, the place is free after [`LEASE`].
    fn leave(&self, key: &StoreKey, ticket: Ticket);

    /// The value of this key.
    fn get(&self, key: &StoreKey) -> StoreFuture<Option<Bytes>>;

    /// Sets the value of this key, of at most [`MOST_VALUE`] octets. It expires after this time, in milliseconds rounded up.
    fn set(&self, key: &StoreKey, value: Bytes, expires: Duration) -> StoreFuture<()>;

    /// Removes the value of this key. Says whether there was one, so that only one of several who remove it gets `true`.
    fn delete(&self, key: &StoreKey) -> StoreFuture<bool>;
}

/// How long a place is kept without being renewed.
pub const LEASE: Duration = Duration::from_secs(30);

/// How long a request that waits keeps its turn without asking.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The most octets of a value.
pub const MOST_VALUE: usize = 1 << 20;

/// An answer of a store.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// What tells a request from the others that ask for a place: a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    /// A number that no other request has.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u64(..))
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How many requests of one key have places at the same time, and how many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceBounds {
    /// The most places.
    pub at_most: usize,
    /// The most requests that wait.
    pub queue: usize,
}

/// What a request gets that asks for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A place.
    UnderWay,
    /// None yet: so many requests are before it.
    Waiting(usize),
    /// None: the queue is full.
    Refused,
}

/// Why a store has not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError(Cow<'static, str>);

impl StoreError {
    /// An error with this reason, a part of a sentence without secrets: "no answer within 30ms".
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}
