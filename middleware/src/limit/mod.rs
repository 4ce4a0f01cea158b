//! `limit`: bounds how many requests are under way.

mod body;
mod slots;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use self::body::HeldBody;
use self::slots::{Admission, Permit, Slots};
use crate::metrics::{Counter, Histogram};
use crate::options::OneOrMany;
use crate::request_key::{KeyPart, RequestKey, in_words};
use crate::{
    Behavior, Body, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Metrics, Middleware, Next, Problem, Request, Response,
    Result, from_fn, units,
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
        for part in &self.per.0 {
            part.effects(effects);
        }
        effects.add(Effect::CountsPerProcess);
        effects.by("queue.wait", Effect::WaitsUpTo(self.queue.wait.0));
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let (slots, figures) = (context.keep(Slots::default), context.keep(Figures::default));
        figures.show(&slots, context);
        let asked = Arc::clone(&slots);
        context.on_explain(move |_| {
            let (under_way, waiting) = asked.counts();
            vec![format!("{under_way} requests of all keys are under way, {waiting} wait")]
        });
        let limiter = Limiter { options: self, slots, figures };
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

/// Lets so many requests through at the same time.
struct Limiter {
    options: Limit,
    slots: Arc<Slots>,
    figures: Arc<Figures>,
}

impl Limiter {
    async fn limit(&self, request: Request, next: Next) -> Result<Response, Problem> {
        let permit = self.permit(&request);
        let permit = match permit {
            Admission::UnderWay(permit) => permit,
            Admission::Waiting(permit) => {
                let since = Instant::now();
                let permit = timeout(self.options.queue.wait.0, permit).await;
                self.figures.waits.observe(since.elapsed());
                match permit {
                    Ok(Ok(permit)) => permit,
                    _ => return Err(self.refusal(&self.figures.refused_waited, "its wait in the queue was too long")),
                }
            }
            Admission::Refused => return Err(self.refusal(&self.figures.refused_full, "the queue is full")),
        };
        let response = next.run(request).await;
        Ok(hold(permit, response))
    }

    fn permit(&self, request: &Request) -> Admission {
        let Limit { at_most, per, queue } = &self.options;
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
fn hold(permit: Permit, response: Response) -> Response {
    // A tunnel has an empty body, which the server drops when the tunnel ends.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS && http_body::Body::is_end_stream(response.body()) {
        return response;
    }
    response.map(|body| Body::new(HeldBody::new(body, permit)))
}

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
    fn show(self: &Arc<Self>, slots: &Arc<Slots>, context: &Context) {
        let (figures, slots, place) = (Arc::clone(self), Arc::clone(slots), context.place().clone());
        context.on_scrape(move |metrics: &mut Metrics| {
            let place = ("place", place.as_str());
            let (under_way, waiting) = slots.counts();
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
