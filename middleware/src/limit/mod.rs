//! `limit`: bounds how many requests are under way.

mod leases;
#[cfg(test)]
mod shared_tests;
mod slots;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use self::leases::{Entered, Leases};
use self::slots::{Admission, Slots};
use crate::body::Observer;
use crate::metrics::{Counter, Histogram};
use crate::options::OneOrMany;
use crate::request_key::{KeyPart, RequestKey, in_words};
use crate::store::{OnStoreFailure, PlaceBounds, Shared, StoreKey};
use crate::{
    Behavior, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Metrics, Middleware, Next, Place, Problem, Request,
    Response, Result, from_fn, units,
};

/// Bounds how many requests are under way at the same time: all together, or those of one client, user, path, header or cookie.
///
/// A request is under way from here until the last octet of its response has been handed to the connection, or its client has gone. A WebSocket is under way as long as it is
/// open.
///
/// A further request waits in a queue, and goes on when another one of the same key has ended, in the order of arrival. If the queue is full, or the wait too long, it is refused:
///
/// | | status |
/// | --- | --- |
/// | with `per` | `429 Too Many Requests`: the client sends too many |
/// | without | `503 Service Unavailable`: the site has too many |
///
/// Both come with `Retry-After: 1`.
///
/// The counts are those of this server's process, and stay over a reload. Below a Python layer, each worker counts for itself. A key without requests takes no memory.
///
/// With [`server.store`](../scale.md), `at_most` and `queue.limit` bound the requests of all processes that use the store, unless `shared` is `false`. It is different from counts in memory in these points:
///
/// | | |
/// | --- | --- |
/// | a request that waits | asks the store again: the next one after 20 ms at most, those behind it later, after 250 ms at most. The order of arrival at the store holds |
/// | a process that dies | gives its places back after 30 s. While a request is under way, its process renews the place every 10 s |
/// | the store does not answer in time | `on_store_failure` decides: `local`, `allow` or `refuse` (503). Places that it gave before stay with their requests |
/// | a store that comes back without its data | knows the places again after 10 s at most; until then more requests may be under way |
///
/// A request that has no user, header or cookie to be counted by, or an empty one, is counted by its client. A client chooses its headers and cookies, so these bound
/// only those who have verified ones.
///
/// Place it below `forwarded` and `access_log`, below the layer that determines the `user`, and above what has to be protected. To bound the requests inside a `wsgi` app or a
/// `proxy`, use their own options: they know which requests are really at work.
///
/// ```json
/// {
///   "layers": ["access_log", { "limit": { "at_most": 20, "per": "client" } }],
///   "app": {
///     "routes": [
///       { "match": { "path": "/report/*" }, "layers": [{ "limit": { "at_most": 2, "queue": { "limit": 10, "wait": "10s" } }, "as": "reports" }], "app": { "wsgi": "hello:app" } },
///       { "app": { "wsgi": "hello:app" } }
///     ]
///   }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The most requests that are under way at the same time, of all or of one key. At most 1,000,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    at_most: usize,
    /// What requests are counted by: `client` (its IPv4 address or its IPv6 /64), `user` (of an authentication layer above), `path`, `header:NAME`, `cookie:NAME`, or several: `["user", "path"]` counts the
    /// requests of each user to each path. Without it, all requests are counted together.
    #[serde(default)]
    per: OneOrMany<KeyPart>,
    /// The queue of further requests, of all or of one key.
    #[serde(default)]
    queue: LimitQueue,
    /// Whether the bounds are those of all processes that use `server.store`, if there is one. With `false`, they are those of this process: to protect what it runs itself.
    #[serde(default = "yes")]
    shared: bool,
    /// What happens to requests while `server.store` does not answer: `local`, `allow` or `refuse`.
    #[serde(default)]
    on_store_failure: OnStoreFailure,
}

const fn yes() -> bool {
    true
}

/// The queue of requests that wait until others have ended.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct LimitQueue {
    /// The most requests that wait. A further one is refused. With 0, none waits.
    #[schemars(range(max = 1_000_000))]
    limit: usize,
    /// The longest wait. After it the request is refused.
    wait: units::Duration,
}

impl Default for LimitQueue {
    fn default() -> Self {
        Self { limit: 128, wait: units::Duration::secs(5) }
    }
}

/// The most requests under way, and the longest queue.
const MOST: usize = 1_000_000;

impl Middleware for Limit {
    const NAME: &'static str = "limit";
    const SHORTHAND: Option<&'static str> = Some("at_most");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::AnswersEarly];

    fn validate(&self, findings: &mut Findings) {
        if !(1..=MOST).contains(&self.at_most) {
            let finding = Finding::new(format!("{} requests are no limit", self.at_most)).at("at_most");
            findings.push(finding.hint(format!("between 1 and {MOST}; to refuse all requests, use the app `respond`")));
        }
        if self.queue.limit > MOST {
            let finding = Finding::new(format!("a queue for {} requests is too long", self.queue.limit)).at("queue").at("limit");
            findings.push(finding.hint(format!("between 0 and {MOST}")));
        }
        if self.queue.wait.0.is_zero() {
            let finding = Finding::new("`wait` must be longer than 0").at("queue").at("wait");
            findings.push(finding.hint("to let no request wait, set `limit` to 0"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        let whose = match self.per.0.as_slice() {
            [] => String::new(),
            parts => format!(" of the same {}", in_words(parts)),
        };
        if self.shared {
            Shared::explain(explain, self.on_store_failure);
        }
        let (status, _) = self.refused();
        let LimitQueue { limit, wait } = self.queue;
        explain.may_answer(
            status,
            match limit {
                0 => format!("if {} requests{whose} are under way", self.at_most),
                _ => {
                    format!("if {} requests{whose} are under way, and {limit} wait already or the wait is longer than {wait}", self.at_most)
                }
            },
        );
        // A response is held as it is while the layer serves. The layers above see a body that is streamed.
        let key = RequestKey::new(&self.per.0, explain.request());
        if let Admission::UnderWay(permit) = Arc::<Slots>::default().enter(key, self.at_most, limit) {
            explain.on_response(move |response| response.change(|response| hold(permit, response)));
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.refuse_with([self.refused().0]);
        for part in &self.per.0 {
            part.effects(effects);
        }
        effects.add(Effect::CountsPerProcess);
        effects.by("queue.wait", Effect::WaitsUpTo(self.queue.wait.0));
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let (slots, figures) = (context.keep(Slots::default), context.keep(Figures::default));
        let leases = context.keep(Leases::default);
        let shared = if self.shared { Shared::of(context, self.on_store_failure) } else { None };
        if shared.is_some() {
            leases.keep_renewing(context);
        }
        let counts = counts(&slots, &leases);
        figures.show(counts.clone(), context);
        let whose = if shared.is_some() { "of this process and all keys" } else { "of all keys" };
        context.on_explain(move |_| {
            let (under_way, waiting) = counts();
            vec![format!("{under_way} requests {whose} are under way, {waiting} wait")]
        });
        let limiter = Limiter { options: self, place: context.place().clone(), slots, leases, shared, figures };
        Ok(from_fn(Arc::new(limiter), async |limiter: Arc<Limiter>, request: Request, next: Next| limiter.limit(request, next).await))
    }
}

impl Limit {
    /// Status and detail of a refusal.
    const fn refused(&self) -> (StatusCode, &'static str) {
        match self.per.0.is_empty() {
            true => (StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way"),
            false => (StatusCode::TOO_MANY_REQUESTS, "too many of your requests are under way"),
        }
    }
}

/// The numbers of this process's requests under way, and of those that wait.
fn counts(slots: &Arc<Slots>, leases: &Arc<Leases>) -> impl Fn() -> (usize, usize) + Clone + Send + Sync + 'static {
    let (slots, leases) = (Arc::clone(slots), Arc::clone(leases));
    move || {
        let (here, shared) = (slots.counts(), leases.counts());
        (here.0 + shared.0, here.1 + shared.1)
    }
}

/// Lets so many requests through at the same time.
struct Limiter {
    options: Limit,
    place: Place,
    slots: Arc<Slots>,
    leases: Arc<Leases>,
    /// The store that gives places instead of `slots`.
    shared: Option<Shared>,
    figures: Arc<Figures>,
}

const FULL: &str = "the queue is full";
const TOO_LONG: &str = "its wait in the queue was too long";

impl Limiter {
    async fn limit(&self, request: Request, next: Next) -> Result<Response, Problem> {
        let Some(shared) = &self.shared else { return self.limit_here(request, next).await };
        let Limit { at_most, per, queue, .. } = &self.options;
        let key = StoreKey::of_requests(&self.place, RequestKey::new(&per.0, &request));
        let bounds = PlaceBounds { at_most: *at_most, queue: queue.limit };
        match self.leases.enter(&shared.store, key, bounds, queue.wait.0, |wait| self.figures.waits.observe(wait)).await {
            Ok(Entered::UnderWay(lease)) => Ok(hold(lease, next.run(request).await)),
            Ok(Entered::Refused) => Err(self.refusal(&self.figures.refused_full, FULL)),
            Ok(Entered::WaitedTooLong) => Err(self.refusal(&self.figures.refused_waited, TOO_LONG)),
            Err(error) if shared.decides_here(&error)? => self.limit_here(request, next).await,
            Err(_) => Ok(next.run(request).await),
        }
    }

    async fn limit_here(&self, request: Request, next: Next) -> Result<Response, Problem> {
        let permit = self.permit(&request);
        let permit = match permit {
            Admission::UnderWay(permit) => permit,
            Admission::Waiting(permit) => {
                let since = Instant::now();
                let permit = timeout(self.options.queue.wait.0, permit).await;
                self.figures.waits.observe(since.elapsed());
                match permit {
                    Ok(Ok(permit)) => permit,
                    _ => return Err(self.refusal(&self.figures.refused_waited, TOO_LONG)),
                }
            }
            Admission::Refused => return Err(self.refusal(&self.figures.refused_full, FULL)),
        };
        let response = next.run(request).await;
        Ok(hold(permit, response))
    }

    fn permit(&self, request: &Request) -> Admission {
        let Limit { at_most, per, queue, .. } = &self.options;
        self.slots.enter(RequestKey::new(&per.0, request), *at_most, queue.limit)
    }

    fn refusal(&self, refused: &Counter, why: &str) -> Problem {
        refused.add(1);
        let (status, detail) = self.options.refused();
        let problem = Problem::new(status).detail(detail).header(RETRY_AFTER, const { HeaderValue::from_static("1") });
        problem.because(format!("{} requests are under way, and {why}", self.options.at_most))
    }
}

/// Keeps the permit until the response ends.
fn hold(permit: impl Send + Unpin + 'static, response: Response) -> Response {
    // A tunnel has an empty body, which the server drops when the tunnel ends.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS && http_body::Body::is_end_stream(response.body()) {
        return response;
    }
    response.map(|body| body.observed(Held { _permit: permit }))
}

/// The permit is free when the server drops the body: at its end, or when the client has gone.
struct Held<P> {
    _permit: P,
}

impl<P: Send + 'static> Observer for Held<P> {}

struct Figures {
    waits: Histogram,
    refused_full: Counter,
    refused_waited: Counter,
}

impl Default for Figures {
    fn default() -> Self {
        Self { waits: Histogram::new(Histogram::WAITS), refused_full: Counter::default(), refused_waited: Counter::default() }
    }
}

impl Figures {
    fn show(self: &Arc<Self>, counts: impl Fn() -> (usize, usize) + Send + Sync + 'static, context: &Context) {
        let (figures, place) = (Arc::clone(self), context.place().clone());
        context.on_scrape(move |metrics: &mut Metrics| {
            let place = ("place", place.as_str());
            let (under_way, waiting) = counts();
            metrics.gauge("ziggurat_limit_requests", "Requests under way below a `limit` layer.").sample(&[place], under_way);
            metrics.gauge("ziggurat_limit_queue_length", "Requests that wait in a `limit` layer.").sample(&[place], waiting);
            metrics
                .histogram("ziggurat_limit_queue_wait_seconds", "Waits of requests in a `limit` layer, refused ones included.")
                .sample(&[place], &figures.waits);
            let refused = metrics.counter("ziggurat_limit_refused_total", "Requests that a `limit` layer refused.");
            refused
                .sample(&[place, ("reason", "queue full")], &figures.refused_full)
                .sample(&[place, ("reason", "waited too long")], &figures.refused_waited);
        });
    }
}
