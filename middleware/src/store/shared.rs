//! The store as one layer uses it.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use tokio::runtime::Handle;

use super::{OnStoreFailure, Store, StoreError, StoreKey};
use crate::metrics::Counter;
use crate::rate_limit::{Quota, Verdict};
use crate::{Context, Explain, Metrics, Problem};

/// The store of a layer, and what the layer does without it.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    on_failure: OnStoreFailure,
    missed: Arc<Missed>,
}

/// Decisions without the store.
#[derive(Default)]
struct Missed(Counter);

impl Shared {
    /// The store of the program, if it has one.
    pub(crate) fn of(context: &Context, on_failure: OnStoreFailure) -> Option<Self> {
        let store = Arc::clone(context.store()?);
        let missed = context.keep(Missed::default);
        let (counted, place) = (Arc::clone(&missed), context.place().clone());
        context.on_scrape(move |metrics: &mut Metrics| {
            let family =
                metrics.counter("ziggurat_store_missed_total", "Decisions of a layer without the store, by what was done instead.");
            family.sample(&[("place", place.as_str()), ("decision", on_failure.as_str())], &counted.0);
        });
        Some(Self { store, on_failure, missed })
    }

    /// Counts a decision without the store, and says what is done: `true` if this process decides, `false` if the request passes.
    pub(crate) fn decides_here(&self, error: &StoreError) -> Result<bool, Problem> {
        self.missed.0.add(1);
        match self.on_failure {
            OnStoreFailure::Local => Ok(true),
            OnStoreFailure::Allow => Ok(false),
            OnStoreFailure::Refuse => {
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).header(RETRY_AFTER, const { HeaderValue::from_static("1") });
                Err(problem.because(format!("`on_store_failure` is `refuse`, and the store gives no answer: {error}")))
            }
        }
    }

    /// How much of a rate is used up, for an explanation: it is made on a thread that may wait.
    pub(crate) fn peek(&self, key: &StoreKey, quota: Quota) -> Result<Verdict, StoreError> {
        let (tell, told) = sync_channel(1);
        let verdict = self.store.peek(key, quota);
        let runtime = Handle::try_current().map_err(|_| StoreError::new("there is no runtime"))?;
        runtime.spawn(async move { tell.send(verdict.await) });
        told.recv_timeout(Duration::from_secs(1)).unwrap_or_else(|_| Err(StoreError::new("no answer within 1s")))
    }

    /// Says which store decides. Returns whether there is one.
    pub(crate) fn explain(explain: &mut Explain<'_>, on_failure: OnStoreFailure) -> bool {
        let Some(store) = explain.context().store() else { return false };
        explain.note(format!("the store decides, for all machines: {}", store.name()));
        match on_failure {
            OnStoreFailure::Refuse => explain.may_answer(StatusCode::SERVICE_UNAVAILABLE, "if the store does not answer"),
            OnStoreFailure::Allow => explain.note("if the store does not answer, the request passes"),
            OnStoreFailure::Local => explain.note("if the store does not answer, this process decides"),
        }
        true
    }
}
