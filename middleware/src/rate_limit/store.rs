//! Where it is kept how much of its limit a key has used.

use std::future::{Future, Ready};
use std::pin::Pin;

use futures_util::future::Either;

use super::{Quota, Verdict};
use crate::Place;
use crate::request_key::RequestKey;

/// Counts requests for `rate_limit` layers.
///
/// By default each layer has a table in memory. A program that leaves an `Arc<dyn RateStore>` with the [`Lifecycle`](crate::Lifecycle) of its stack has all of them ask that
/// one, for instance a server that several machines share.
pub trait RateStore: Send + Sync + 'static {
    /// Counts a request with this key at the layer of this place, and says whether it is within the quota.
    ///
    /// A store that cannot tell decides itself what then holds: the future always gives a verdict.
    fn take(&self, place: &Place, key: RequestKey<'_>, quota: Quota) -> TakeFuture;

    /// What [`take`](Self::take) would say of a request now, if that is known at once. Nothing is counted.
    fn peek(&self, place: &Place, key: RequestKey<'_>, quota: Quota) -> Option<Verdict> {
        let _ = (place, key, quota);
        None
    }
}

/// A verdict, at once or later.
pub type TakeFuture = Either<Ready<Verdict>, Pin<Box<dyn Future<Output = Verdict> + Send>>>;
