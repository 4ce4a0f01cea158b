//! The log of refusals, which come by the thousand when many clients abort uploads or an app is overloaded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tracing::dispatcher::{Dispatch, WeakDispatch, get_default, with_default};

use crate::{Place, RequestSummary};

/// For how long refusals are counted instead of logged.
const PERIOD: Duration = Duration::from_secs(10);

/// The refusals of one layer or app. The first one with a status is logged. Those of the next seconds are counted, and one line tells their number.
#[derive(Clone)]
pub(crate) struct Refusals {
    place: Place,
    counted: Arc<Mutex<BTreeMap<StatusCode, Counted>>>,
}

#[derive(Default)]
struct Counted {
    count: u64,
    latest: String,
}

impl Refusals {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, counted: Arc::default() }
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// Logs a problem. One that says that clients are at fault, or too many, is counted if such a one was logged a short time ago.
    pub(crate) fn log(&self, status: StatusCode, request: Option<&RequestSummary>, cause: String) {
        if let Some(counted) = self.lock().get_mut(&status) {
            (counted.count, counted.latest) = (counted.count + 1, cause);
            return;
        }
        let (request_id, request) = (request.and_then(RequestSummary::id), request.map(tracing::field::display));
        tracing::error!(request_id, request, place = self.place.as_str(), status = status.as_u16(), "{cause}");
        // Outside of a runtime, every problem is logged.
        let is_refusal = status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE;
        if is_refusal && let Ok(runtime) = Handle::try_current() {
            self.lock().insert(status, Counted::default());
            runtime.spawn(self.clone().sum_up(status, get_default(Dispatch::downgrade)));
        }
    }

    /// Logs the number of refusals after each period, until there are none. It keeps no log alive: a test has one of its own for each stack.
    async fn sum_up(self, status: StatusCode, log: WeakDispatch) {
        loop {
            sleep(PERIOD).await;
            let mut counted = self.lock();
            let Some(Counted { count, latest }) = counted.get_mut(&status).map(std::mem::take) else { return };
            if count == 0 {
                counted.remove(&status);
                return;
            }
            drop(counted);
            let Some(log) = log.upgrade() else { return };
            let (place, status, seconds) = (self.place.as_str(), status.as_u16(), PERIOD.as_secs());
            with_default(&log, || {
                tracing::warn!(
                    place,
                    status,
                    count,
                    "{count} more requests were refused within {seconds} s, the last one for this reason: {latest}"
                );
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StatusCode, Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tower::layer::layer_fn;
    use tower::service_fn;

    use super::*;
    use crate::{Next, Problem, Request, Response, TestStack};

    #[tokio::test(start_paused = true)]
    async fn a_thousand_refusals_are_two_lines_in_the_log() {
        let full = || Problem::new(StatusCode::SERVICE_UNAVAILABLE).because("the queue is full");
        let busy = layer_fn(move |_: Next| service_fn(move |_: Request| std::future::ready(Err::<Response, _>(full()))));
        let stack = TestStack::stage(busy).over_text("never");
        for _ in 0..1_000 {
            assert_eq!(stack.get("/").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        sleep(3 * PERIOD).await;
        let log = stack.log();
        assert_eq!(log.len(), 2, "{log:?}");
        assert!(log[0].ends_with("the queue is full") && log[1].contains("count=999") && log[1].contains("999 more requests"), "{log:?}");
        assert_eq!(stack.get("/").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(stack.log().len(), 3);
    }
}
