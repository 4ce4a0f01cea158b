//! Sums up log lines that come by the thousand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;
use tracing::dispatcher::{Dispatch, WeakDispatch, get_default, with_default};

/// For how long lines are counted instead of logged.
const PERIOD: Duration = Duration::from_secs(10);

/// Log lines of several kinds: the first one of a kind is logged. Those of the next seconds are counted, and one line tells their number.
///
/// ```
/// use ziggurat_middleware::Summary;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let failures = Summary::default();
/// for client in ["192.0.2.1", "192.0.2.2"] {
///     let is_first = failures.begins("timeout", || client.to_owned(), |count, latest, seconds| {
///         tracing::warn!("{count} more clients were too slow within {seconds} s, the last one is {latest}");
///     });
///     if is_first {
///         tracing::warn!("{client} was too slow");
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Summary<K>(Arc<Mutex<BTreeMap<K, Counted>>>);

#[derive(Debug, Default)]
struct Counted {
    count: u64,
    latest: String,
}

impl<K> Default for Summary<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> Clone for Summary<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Clone + Ord + Send + 'static> Summary<K> {
    /// Whether a line of this kind is to be logged. Otherwise it is counted with what `latest` says, and `sum_up` logs the count: it gets the number of lines, the text of
    /// the last one, and the seconds that they came in. Outside of a runtime, every line is logged.
    pub fn begins(&self, kind: K, latest: impl FnOnce() -> String, sum_up: impl Fn(u64, String, u64) + Send + 'static) -> bool {
        if let Some(counted) = self.lock().get_mut(&kind) {
            (counted.count, counted.latest) = (counted.count + 1, latest());
            return false;
        }
        if let Ok(runtime) = Handle::try_current() {
            self.lock().insert(kind.clone(), Counted::default());
            runtime.spawn(self.clone().sum_up(kind, sum_up, get_default(Dispatch::downgrade)));
        }
        true
    }

    /// Logs the number of lines after each period, until there are none. It keeps no log alive: a test has one of its own for each stack.
    async fn sum_up(self, kind: K, sum_up: impl Fn(u64, String, u64) + Send + 'static, log: WeakDispatch) {
        loop {
            sleep(PERIOD).await;
            let mut counted = self.lock();
            let Some(Counted { count, latest }) = counted.get_mut(&kind).map(std::mem::take) else { return };
            if count == 0 {
                counted.remove(&kind);
                return;
            }
            drop(counted);
            let Some(log) = log.upgrade() else { return };
            with_default(&log, || sum_up(count, latest, PERIOD.as_secs()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
