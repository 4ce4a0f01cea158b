//! `forward_auth`: asks another server whether a request may pass.

mod answer;
mod cache;
mod question;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use self::answer::{Pass, Reader, Verdict, authenticated};
use self::cache::Cache;
use self::question::{Question, To, is_in_a_loop};
use crate::auth::{Decision, Decisions, ServerUrl, check_framing, check_headers, client};
use crate::metrics::Counter;
use crate::options::OneOrMany;
use crate::refusals::Refusals;
use crate::units::{Duration, HeaderKey};
use crate::{
    Behavior, BoxError, Client, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Next, Problem, Request,
    RequestSummary, Response, Result, UnixSocket, from_fn,
};

/// Asks another server whether a request may pass, as nginx's `auth_request` and Traefik's `forwardAuth` do.
///
/// The server (Authelia, Authentik, oauth2-proxy, or a view of your own) gets a GET request without a body, with the headers of the client's request and with
///
/// | header | says |
/// | --- | --- |
/// | `X-Forwarded-Method`, `X-Forwarded-Uri` | the method and the whole target of the client's request |
/// | `X-Forwarded-Proto`, `X-Forwarded-Host`, `X-Forwarded-For` | the scheme, the `Host` header and the client's address, as [`forwarded`](forwarded.md) has found them |
///
/// Its answer decides:
///
/// | answer | what happens |
/// | --- | --- |
/// | 2xx | the request passes, with the `response_headers`. `Set-Cookie` goes to the client |
/// | 401, 403, 301, 302, 303, 307, 308 | the client gets the answer, with its headers and its body |
/// | anything else, or none in time | 502 or 503 with `Retry-After`; or the request passes, if `on_failure` is `allow` |
///
/// What the client itself sends in one of the `response_headers` is always removed. Hop-by-hop headers, conditions, ranges, and headers about the body do not go to the
/// server. A server that stands behind the layer itself would be asked for ever: its requests are answered 508, so that the first one fails.
///
/// Connections to the server are reused. A server that fails five times in a row is left alone for 10 s.
///
/// `ziggurat_auth_decisions_total` counts the requests by what was decided, and `ziggurat_forward_auth_cached_total` those that were decided from the cache.
///
/// Place it below `access_log`, which then logs the user, and above everything that only known users may reach. [`cache`](cache.md) below it stores pages for everybody alone, whether the answer names a user or not.
///
/// ```json
/// {
///   "layers": [
///     { "forward_auth": { "to": "http://127.0.0.1:9091/api/authz/forward-auth", "response_headers": ["remote-groups", "remote-email"], "user": "remote-user" } }
///   ],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
///
/// With `cache`, the server is not asked the same twice in that time: the same headers, address and target. Name the `request_headers` that it needs, so that further ones do not make
/// each question a new one:
///
/// ```json
/// {
///   "layers": [{ "forward_auth": { "to": "http://127.0.0.1:9091/check", "request_headers": ["cookie", "authorization"], "cache": "10s" } }],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardAuth {
    /// The URL that is asked. A server on a Unix socket is written `unix:/run/auth.sock:/check`.
    to: ServerUrl,
    /// A PEM file with the certificates of the authorities to trust, if the server has an `https` URL. By default the authorities of the system are trusted.
    #[serde(default)]
    ca: Option<PathBuf>,
    /// The headers of the client's request that go to the server. By default all.
    #[serde(default)]
    request_headers: Option<OneOrMany<HeaderKey>>,
    /// The headers of a 2xx answer that the app gets. What the client sends in them is removed.
    #[serde(default)]
    response_headers: OneOrMany<HeaderKey>,
    /// The header of a 2xx answer that names the user: the app finds the name in `REMOTE_USER`. What the client sends in it is removed. `AUTH_TYPE` is `ForwardAuth`, also without a name.
    #[serde(default)]
    user: Option<HeaderKey>,
    /// The longest time to the answer.
    #[serde(default = "timeout")]
    timeout: Duration,
    /// What happens to requests while the server gives no decision: `refuse`, or `allow`, which lets everybody in.
    #[serde(default)]
    on_failure: OnFailure,
    /// How long a request may pass without asking again, if the same was asked. At most 4096 decisions are cached. Refusals are not, and neither are answers with `Set-Cookie` or `Cache-Control: no-store`. Nobody
    /// can be locked out before that time is over.
    #[serde(default = "no_time")]
    cache: Duration,
}

const fn timeout() -> Duration {
    Duration::secs(5)
}

const fn no_time() -> Duration {
    Duration::secs(0)
}

/// What happens while there is no decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnFailure {
    /// The request is refused.
    #[default]
    Refuse,
    /// The request passes, without a user.
    Allow,
}

/// The most octets of an answer's body that are read so that its connection can be used again.
const MOST_BODY: usize = 64 << 10;

impl Middleware for ForwardAuth {
    const NAME: &'static str = "forward_auth";
    const SHORTHAND: Option<&'static str> = Some("to");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::NeedsConnectionInfo, Behavior::Authenticates, Behavior::AnswersEarly];

    fn validate(&self, findings: &mut Findings) {
        check_headers("response_headers", &self.response_headers.0, findings);
        check_framing("user", &self.user, findings);
        if self.timeout.0.is_zero() {
            findings.push(Finding::new("the server has no time to answer").at("timeout").hint("write `\"5s\"`"));
        }
        if self.cache.0 > std::time::Duration::from_secs(3600) {
            findings
                .push(Finding::new("a decision is cached for more than an hour").at("cache").hint("nobody can be locked out before that"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        explain.note(format!("asks `{}` whether the request may pass", self.to));
        explain.may_answer(StatusCode::UNAUTHORIZED, "if it says so, and in the same way 403 and redirects");
        match self.on_failure {
            OnFailure::Refuse => explain.may_answer(StatusCode::SERVICE_UNAVAILABLE, "if it gives no decision"),
            OnFailure::Allow => explain.note("lets everybody in while it gives no decision: `on_failure`"),
        }
        self.reader().strip(explain.request_mut());
        explain.request_mut().extensions_mut().insert(authenticated());
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.refuse_with([StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE]);
        let sends = |name: &http::HeaderName| self.request_headers.as_ref().is_none_or(|sent| sent.0.iter().any(|key| key.0 == *name));
        if sends(&AUTHORIZATION) {
            effects.add(Effect::TakesPasswords);
        }
        if sends(&COOKIE) {
            effects.add(Effect::TakesTokens);
        }
        for name in self.request_headers.iter().flat_map(|sent| &sent.0) {
            effects.by("request_headers", Effect::ReadsRequestHeader(name.0.clone()));
        }
        for name in &self.response_headers.0 {
            effects.by("response_headers", Effect::SetsRequestHeader(name.0.clone()));
        }
        effects.by("timeout", Effect::WaitsUpTo(self.timeout.0));
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let client = client(context, self.ca.as_ref())?;
        let guard = Arc::new(Guard::new(self, client, context)?);
        Ok(from_fn(guard, async |guard: Arc<Guard>, request: Request, next: Next| guard.ask(request, next).await))
    }
}

impl ForwardAuth {
    fn reader(&self) -> Reader {
        Reader { headers: self.response_headers.0.clone(), user: self.user.clone() }
    }
}

/// Lets through what the server lets pass.
struct Guard {
    options: ForwardAuth,
    to: To,
    /// For `on_failure`: refusals that are sent are logged where the service is erased.
    failures: Refusals,
    /// The name of this layer in `Via`.
    pseudonym: String,
    reader: Reader,
    client: Client,
    cache: Arc<Cache>,
    cached: Arc<Counter>,
    decisions: Arc<Decisions>,
}

impl Guard {
    fn new(options: ForwardAuth, client: Client, context: &Context) -> Result<Self> {
        let (cache, cached) = (context.keep(Cache::default), context.keep(Counter::default));
        let (figure, place) = (Arc::clone(&cached), context.place().clone());
        context.on_scrape(move |metrics| {
            let family =
                metrics.counter("ziggurat_forward_auth_cached_total", "Requests that passed by a cached decision of `forward_auth`.");
            family.sample(&[("place", place.as_str())], &*figure);
        });
        let (held, to) = (Arc::clone(&cache), options.to.to_string());
        context.on_status(move || serde_json::json!({ "to": to, "cached": held.len() }));
        let mut number = [0; 8];
        aws_lc_rs::rand::fill(&mut number)?;
        let socket = options.to.socket.as_ref().map(|socket| UnixSocket(context.resolve(socket).into()));
        Ok(Self {
            to: To { uri: options.to.url.0.clone(), socket },
            reader: options.reader(),
            failures: Refusals::new(context.place().clone()),
            pseudonym: format!("ziggurat-{:016x}", u64::from_le_bytes(number)),
            decisions: Decisions::keep(context),
            options,
            client,
            cache,
            cached,
        })
    }

    async fn ask(&self, mut request: Request, next: Next) -> Result<Response, Problem> {
        if is_in_a_loop(request.headers(), &self.pseudonym) {
            let problem = Problem::new(StatusCode::LOOP_DETECTED).detail("the request is in a loop");
            return Err(problem.because(format!("`{}` stands behind the layer that asks it", self.options.to)));
        }
        let sent = self.options.request_headers.as_ref().map(|sent| sent.0.as_slice());
        let question =
            Question::new(&self.to, sent, &self.pseudonym, request.method(), request.uri(), request.headers(), request.extensions());
        let digest = (!self.options.cache.0.is_zero()).then(|| question.digest());
        let cached = digest.and_then(|digest| self.cache.get(&digest));
        let pass = match cached {
            Some(pass) => {
                self.cached.add(1);
                self.decisions.count(Decision::Allowed);
                pass
            }
            None => match self.decide(question).await {
                Ok(Verdict::Pass(pass, may_be_cached)) => {
                    self.decisions.count(Decision::Allowed);
                    if let Some(digest) = digest.filter(|_| may_be_cached) {
                        self.cache.insert(digest, &pass, self.options.cache.0);
                    }
                    pass
                }
                Ok(Verdict::Refuse(response)) => {
                    let is_final = response.status() == StatusCode::FORBIDDEN;
                    self.decisions.count(if is_final { Decision::Forbidden } else { Decision::Invalid });
                    return Ok(response);
                }
                Ok(Verdict::Unclear(status)) => {
                    self.fail(StatusCode::BAD_GATEWAY, format!("`{}` answered {status}, which is no decision", self.options.to), &request)?
                }
                Err(error) => self.fail(StatusCode::SERVICE_UNAVAILABLE, format!("`{}`: {error}", self.options.to), &request)?,
            },
        };
        self.reader.strip(&mut request);
        pass.apply(&mut request);
        let mut response = next.run(request).await;
        pass.apply_to_response(&mut response);
        Ok(response)
    }

    /// Asks the server, and reads the body of an answer that lets the request pass.
    async fn decide(&self, question: Question) -> Result<Verdict, BoxError> {
        let until = Instant::now() + self.options.timeout.0;
        let answer = timeout_at(until, self.client.send(question.into_request())).await;
        let mut answer = answer.map_err(|_| format!("no answer within {}", self.options.timeout))??;
        if answer.status().is_success() {
            let body = std::mem::take(answer.body_mut());
            // Only its connection is of interest.
            let _ = timeout_at(until, Limited::new(body, MOST_BODY).collect()).await;
        }
        Ok(self.reader.read(answer))
    }

    /// What happens without a decision.
    fn fail(&self, status: StatusCode, cause: String, request: &Request) -> Result<Pass, Problem> {
        self.decisions.count(Decision::Unavailable);
        if self.options.on_failure == OnFailure::Allow {
            let summary = RequestSummary::of(request.extensions());
            self.failures.log(StatusCode::SERVICE_UNAVAILABLE, summary, cause + " (the request passes: `on_failure`)");
            return Ok(Pass::default());
        }
        let problem = Problem::new(status).detail("whether you may come in cannot be found out").because(cause);
        Err(if status == StatusCode::SERVICE_UNAVAILABLE { problem.header(RETRY_AFTER, HeaderValue::from_static("5")) } else { problem })
    }
}
