//! `rate_limit`: bounds how many requests pass in a time.

mod fields;
mod memory;
mod quota;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use self::fields::Fields;
use self::memory::MemoryStore;
use self::quota::Rate;
pub use self::quota::{Quota, Verdict};
use crate::metrics::Counter;
use crate::options::OneOrMany;
use crate::refusals::Refusals;
use crate::request_key::{KeyPart, RequestKey, in_words};
use crate::store::{OnStoreFailure, Shared, StoreKey};
use crate::{
    Behavior, ConnectionInfo, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Metrics, Middleware, Next, Peer, Place,
    Problem, Request, RequestSummary, Response, Result, from_fn,
};

/// Bounds how many requests of one client pass in a time, and refuses the others with `429 Too Many Requests`.
///
/// Requests are counted by the generic cell rate algorithm (GCRA, ITU-T I.371), which has no windows: with `"10/min"`, a client that has been quiet may send 10 requests at
/// once (its `burst`), and gets one back every 6 seconds. In any time, no more than `burst` and what the rate gives in that time pass. A refused request counts for nothing.
///
/// | response header | says |
/// | --- | --- |
/// | `RateLimit-Policy: "rate_limit";q=10;w=60` | the most requests at once, and the seconds in which so many come back |
/// | `RateLimit: "rate_limit";r=9;t=6` | how many requests may still follow at once, and the seconds until it is one more |
/// | `Retry-After: 6` | of a refusal: the seconds until a request passes, rounded up |
///
/// The first two are those of the IETF's draft (draft-ietf-httpapi-ratelimit-headers-11). The name in them is that of the layer's place: `as` gives it another one.
///
/// | what is bounded | to |
/// | --- | --- |
/// | keys (clients, users, ...) that are remembered | 262,144, in at most 5 MiB for each layer. The one whose requests are longest ago is forgotten first, which changes nothing: it could send a whole burst anyway |
/// | keys beyond that, while all remembered ones have requests to wait for | share the limit of one key in each of 1024 parts of the table. `ziggurat_rate_limit_overflow_total` counts their requests |
///
/// The counts are those of this server's process, and stay over a reload. With [`server.store`](../scale.md), they are those of all processes that use the store: it counts by its own clock, and the
/// table above is there for `on_store_failure`. Below a Python layer, each worker counts for itself.
///
/// | without an answer of the store, with `on_store_failure` | |
/// | --- | --- |
/// | `local` | this process counts for itself: with three machines, a client may get three times as many requests through, and a whole `burst` of each at first |
/// | `allow` | the request passes, without `RateLimit` headers |
/// | `refuse` | `503 Service Unavailable` with `Retry-After: 1` |
///
/// A request waits for the store for `server.store.timeout` at most, 30 ms by default. `ziggurat_store_missed_total` counts the decisions without it.
///
/// A request that has no user, header or cookie to be counted by, or an empty one, is counted by its client. A client chooses its headers and cookies: what only
/// these tell apart, and nothing verifies, anybody can have anew. Limit such requests by `client`, too, with a second `rate_limit`.
///
/// Place it below `forwarded` and `access_log`, below the layer that determines the `user`, and above everything that costs time.
///
/// ```json
/// {
///   "layers": ["access_log", { "rate_limit": { "allow": "100/s", "burst": 200, "exempt": "10.0.0.0/8" } }],
///   "app": {
///     "routes": [
///       { "match": { "path": "/login" }, "layers": [{ "rate_limit": { "allow": "10/min" }, "as": "logins" }], "app": { "wsgi": "hello:app" } },
///       { "app": { "wsgi": "hello:app" } }
///     ]
///   }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many requests pass in which time: `"100/s"`, `"10/min"`, `"1000/h"` or `"5000/d"`. At most 1,000,000.
    allow: Rate,
    /// How many requests pass at once after a quiet time. Default: the number in `allow`. With 1, requests have to keep their distance: with `"10/min"`, 6 seconds.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    burst: Option<u64>,
    /// What requests are counted by: `client` (its IPv4 address or its IPv6 /64), `user` (of an authentication layer above), `path`, `header:NAME`, `cookie:NAME`, or several: `["client", "path"]` counts
    /// the requests of each client to each path. An empty list counts all requests together.
    #[serde(default = "by_client")]
    per: OneOrMany<KeyPart>,
    /// Clients that are not limited: networks such as `10.0.0.0/8`, addresses, and `unix` for clients on a Unix socket.
    #[serde(default)]
    exempt: OneOrMany<Peer>,
    /// Whether requests over the limit pass all the same. They are logged and counted (`ziggurat_rate_limit_refused_total{dry_run="true"}`), and responses say nothing of the
    /// limit: try a limit before you enforce it.
    #[serde(default)]
    dry_run: bool,
    /// Whether requests are counted in `server.store`, if there is one, together with those of other processes.
    #[serde(default = "yes")]
    shared: bool,
    /// What happens to requests while `server.store` does not answer: `local`, `allow` or `refuse`.
    #[serde(default)]
    on_store_failure: OnStoreFailure,
}

const fn yes() -> bool {
    true
}

fn by_client() -> OneOrMany<KeyPart> {
    OneOrMany(vec![KeyPart::Client])
}

impl Middleware for RateLimit {
    const NAME: &'static str = "rate_limit";
    const SHORTHAND: Option<&'static str> = Some("allow");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::AnswersEarly, Behavior::NeedsConnectionInfo];

    fn validate(&self, findings: &mut Findings) {
        if self.burst.is_some_and(|burst| !(1..=Rate::MOST).contains(&burst)) {
            let finding = Finding::new("no such `burst` can be counted").at("burst");
            findings.push(finding.hint(format!("between 1 and {}; it is the number in `allow` if you leave it out", Rate::MOST)));
        } else if self.quota().window() > Quota::LONGEST {
            let finding = Finding::new("so many requests come back after more than a year").at("burst");
            findings.push(finding.hint("allow more in a time, or a smaller `burst`"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        if let Some(exempt) = self.exempts(explain.request()) {
            explain.note(format!("no limit: `{exempt}` is exempt"));
            return Ok(());
        }
        let whose = match self.per.0.as_slice() {
            [] => "all requests together".to_owned(),
            parts => format!("requests of the same {}", in_words(parts)),
        };
        explain.note(format!("counts {whose}: {}, {} at once", self.allow, self.quota().burst()));
        if self.shared {
            Shared::explain(explain, self.on_failure());
        }
        if self.dry_run {
            explain.note("a request over the limit passes and is logged: `dry_run`");
            return Ok(());
        }
        explain.may_answer(StatusCode::TOO_MANY_REQUESTS, "if the limit is used up");
        explain.on_response(|response| response.note("says in `ratelimit-policy` and `ratelimit` how many requests may follow"));
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        for part in &self.per.0 {
            part.effects(effects);
        }
        effects.add(Effect::CountsPerProcess);
        if self.dry_run {
            effects.add(Effect::PassesEverything);
        } else {
            effects.refuse_with([StatusCode::TOO_MANY_REQUESTS]);
            effects.add(Effect::SetsMoment(fields::LIMIT));
        }
        if self.dry_run || !self.exempt.0.is_empty() {
            effects.add(Effect::ExemptsClients);
        }
        if self.per.0.iter().all(|part| *part == KeyPart::Client) && !self.dry_run {
            effects.add(Effect::LimitsRate);
        }
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let (figures, memory) = (context.keep(Figures::default), context.keep(MemoryStore::default));
        let (quota, dry_run) = (self.quota(), self.dry_run);
        let shared = if self.shared { Shared::of(context, self.on_failure()) } else { None };
        memory.show(context);
        figures.show(context, dry_run);
        let limiter = Limiter {
            memory,
            shared,
            place: context.place().clone(),
            fields: Fields::new(context.place(), quota)?,
            refusals: Refusals::new(context.place().clone()),
            figures,
            quota,
            options: self,
        };
        let limiter = Arc::new(limiter);
        let asked = Arc::clone(&limiter);
        context.on_explain(move |request| asked.now(request).into_iter().collect());
        Ok(from_fn(limiter, async |limiter: Arc<Limiter>, request: Request, next: Next| limiter.limit(request, next).await))
    }
}

impl RateLimit {
    /// Why the client is not limited, if it is not.
    fn exempts(&self, request: &Request) -> Option<&Peer> {
        let connection = request.extensions().get::<ConnectionInfo>()?;
        self.exempt.0.iter().find(|peer| peer.sent(connection))
    }

    /// A dry run refuses nobody.
    const fn on_failure(&self) -> OnStoreFailure {
        match self.on_store_failure {
            OnStoreFailure::Refuse if self.dry_run => OnStoreFailure::Allow,
            mode => mode,
        }
    }

    fn quota(&self) -> Quota {
        Quota::new(self.allow, self.burst)
    }
}

/// Lets through what the limit allows.
struct Limiter {
    options: RateLimit,
    quota: Quota,
    place: Place,
    memory: Arc<MemoryStore>,
    /// The store that counts in place of the memory.
    shared: Option<Shared>,
    fields: Fields,
    figures: Arc<Figures>,
    /// For a dry run: refusals that are sent are logged where the service is erased.
    refusals: Refusals,
}

impl Limiter {
    async fn limit(&self, request: Request, next: Next) -> Result<Response, Problem> {
        if self.options.exempts(&request).is_some() {
            return Ok(next.run(request).await);
        }
        let key = RequestKey::new(&self.options.per.0, &request);
        let verdict = match &self.shared {
            None => self.memory.take(key, self.quota),
            Some(shared) => {
                let here = self.memory.hash(key);
                let asked = shared.store.take(&StoreKey::of_requests(&self.place, key), self.quota);
                match asked.await {
                    Ok(verdict) => verdict,
                    Err(error) if shared.decides_here(&error)? => self.memory.judge(here, self.quota),
                    Err(_) => return Ok(next.run(request).await),
                }
            }
        };
        if verdict.is_allowed {
            self.figures.allowed.add(1);
        } else {
            self.figures.refused.add(1);
            if !self.options.dry_run {
                return Err(self.refusal(&verdict, &request));
            }
            let (summary, cause) = (RequestSummary::of(request.extensions()), self.cause(&request) + " (it passes: `dry_run`)");
            self.refusals.log(StatusCode::TOO_MANY_REQUESTS, summary, cause);
        }
        let mut response = next.run(request).await;
        if !self.options.dry_run {
            self.fields.append(response.headers_mut(), &verdict);
        }
        Ok(response)
    }

    /// How much of the limit is left for a request.
    fn now(&self, request: &Request) -> Option<String> {
        if self.options.exempts(request).is_some() {
            return None;
        }
        let key = RequestKey::new(&self.options.per.0, request);
        let verdict = match &self.shared {
            None => self.memory.peek(key, self.quota),
            Some(shared) => match shared.peek(&StoreKey::of_requests(&self.place, key), self.quota) {
                Ok(verdict) => verdict,
                Err(error) => return Some(format!("the store does not answer: {error}")),
            },
        };
        Some(match verdict.is_allowed {
            true => format!("the request passes, and {} more at once", verdict.remaining),
            false => format!("the limit is used up: a request passes in {} s", verdict.seconds()),
        })
    }

    fn refusal(&self, verdict: &Verdict, request: &Request) -> Problem {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS).because(self.cause(request));
        let problem = problem.detail(format!("try again in {} s", verdict.seconds()));
        self.fields.of_refusal(verdict).fold(problem, |problem, (name, value)| problem.header(name, value))
    }

    /// It names the client only: keys, cookies and users may be secrets.
    fn cause(&self, request: &Request) -> String {
        let client = request.extensions().get::<ConnectionInfo>().and_then(|connection| connection.client);
        let client = client.map_or_else(|| "a client without an address".to_owned(), |client| client.to_string());
        format!("over the limit of {}: a request of {client}", self.options.allow)
    }
}

#[derive(Default)]
struct Figures {
    allowed: Counter,
    refused: Counter,
}

impl Figures {
    fn show(self: &Arc<Self>, context: &Context, dry_run: bool) {
        let (figures, place) = (Arc::clone(self), context.place().clone());
        context.on_scrape(move |metrics: &mut Metrics| {
            let place = [("place", place.as_str())];
            metrics.counter("ziggurat_rate_limit_allowed_total", "Requests within a rate limit.").sample(&place, &figures.allowed);
            let refused = metrics.counter("ziggurat_rate_limit_refused_total", "Requests over a rate limit. With `dry_run` they passed.");
            refused.sample(&[place[0], ("dry_run", if dry_run { "true" } else { "false" })], &figures.refused);
        });
    }
}
