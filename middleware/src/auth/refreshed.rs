//! What another server tells and changes from time to time, such as its keys.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::metrics::Counter;
use crate::{Body, BoxError, Client, Context, Request};

/// The longest time that fetching takes.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest time between two fetches: clients that invent reasons for one cause no more.
const COOL_DOWN: Duration = Duration::from_secs(10);

/// The most octets that are read of an answer.
const LARGEST: usize = 256 << 10;

/// A value that is fetched now and then. The last one stays while fetching fails.
pub(crate) struct Refreshed<T> {
    /// Where it comes from.
    url: Uri,
    fetch: Fetch<T>,
    state: Arc<State<T>>,
}

/// Fetches a value once.
pub(crate) type Fetch<T> = Box<dyn Fn() -> BoxFuture<'static, Result<T, BoxError>> + Send + Sync>;

/// What is kept over a reload.
struct State<T> {
    /// The value, and where it came from.
    value: RwLock<Option<(Uri, Arc<T>)>>,
    /// When the last attempt began. Whoever holds it fetches.
    attempted: Mutex<Option<Instant>>,
    fetched: Counter,
    failed: Counter,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { value: RwLock::default(), attempted: Mutex::default(), fetched: Counter::default(), failed: Counter::default() }
    }
}

impl<T: Send + Sync + 'static> Refreshed<T> {
    /// The value that `fetch` gets from `url`. It is fetched now, and again after each `every`.
    pub(crate) fn start(context: &Context, url: Uri, every: Duration, fetch: Fetch<T>) -> Arc<Self> {
        let refreshed = Arc::new(Self { url, fetch, state: context.keep(State::default) });
        let task = Arc::clone(&refreshed);
        context.spawn(async move {
            loop {
                task.refresh().await;
                sleep(if task.known().is_some() { every } else { COOL_DOWN }).await;
            }
        });
        let (state, place) = (Arc::clone(&refreshed.state), context.place().clone());
        context.on_scrape(move |metrics| {
            let family =
                metrics.counter("ziggurat_auth_fetches_total", "Attempts to fetch keys and other settings from a provider of identities.");
            family.sample(&[("place", place.as_str()), ("result", "ok")], &state.fetched);
            family.sample(&[("place", place.as_str()), ("result", "failed")], &state.failed);
        });
        let shown = Arc::clone(&refreshed);
        context.on_status(move || shown.status());
        refreshed
    }

    /// The value. Without one, it is fetched first.
    pub(crate) async fn current(&self) -> Option<Arc<T>> {
        if self.known().is_none() {
            self.refresh().await;
        }
        self.known()
    }

    /// The value after one that does not fit any more, if it has changed.
    pub(crate) async fn renewed(&self, known: &Arc<T>) -> Option<Arc<T>> {
        self.refresh().await;
        self.known().filter(|value| !Arc::ptr_eq(value, known))
    }

    fn known(&self) -> Option<Arc<T>> {
        let value = self.state.value.read().unwrap_or_else(PoisonError::into_inner);
        value.as_ref().filter(|(url, _)| *url == self.url).map(|(_, value)| Arc::clone(value))
    }

    /// Fetches the value, unless that was tried a short time ago.
    async fn refresh(&self) {
        let mut attempted = self.state.attempted.lock().await;
        if attempted.is_some_and(|attempted| attempted.elapsed() < COOL_DOWN) {
            return;
        }
        *attempted = Some(Instant::now());
        match timeout(TIMEOUT, (self.fetch)()).await.unwrap_or_else(|_| Err("no answer within 5 s".into())) {
            Ok(value) => {
                self.state.fetched.add(1);
                let mut known = self.state.value.write().unwrap_or_else(PoisonError::into_inner);
                *known = Some((self.url.clone(), Arc::new(value)));
            }
            Err(error) => {
                self.state.failed.add(1);
                let (url, kept) = (&self.url, if self.known().is_some() { "what is known stays" } else { "nobody is let in" });
                tracing::error!(%url, "cannot fetch it: {error}; {kept}");
            }
        }
    }

    fn status(&self) -> Value {
        let (fetched, failed) = (self.state.fetched.get(), self.state.failed.get());
        json!({ "from": self.url.to_string(), "known": self.known().is_some(), "fetches": fetched, "failures": failed })
    }
}

/// The body of an answer with the status 200.
pub(crate) async fn get(client: &Client, url: &Uri) -> Result<Bytes, BoxError> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = url.clone();
    let response = client.send(request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("the status is {}", response.status()).into());
    }
    Ok(Limited::new(response.into_body(), LARGEST).collect().await?.to_bytes())
}
