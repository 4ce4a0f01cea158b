//! `cache`: stores responses and answers later requests with them (RFC 9111).

mod asked;
mod control;
mod detached;
mod fetch;
mod figures;
mod fill;
mod flight;
mod freshness;
mod key;
mod purge;
mod respond;
mod service;
mod status;
mod store;
mod stored;
mod targeted;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::asked::{Kind, without_conditions};
use self::figures::Figures;
use self::freshness::{Freshness, Reuse, unstorable};
use self::key::IgnoredParameters;
pub use self::purge::Purge;
use self::respond::{is_not_modified, not_modified};
use self::service::{Cache as Running, CacheLayer, REFRESHES};
use self::status::{CacheStatus, Forward, Why};
use self::store::{Bounds, Store};
use crate::options::OneOrMany;
use crate::units::{Duration, Size};
use crate::{Behavior, Context, Explain, Finding, Findings, IntoStage, Middleware, Request, Result};

/// Stores responses and answers later requests with them, as a shared cache does (RFC 9111).
///
/// The app decides what is stored, by the headers of its responses. In Django, `cache_control(public=True, max_age=60)` and `cache_page` set them.
///
/// | a response | |
/// | --- | --- |
/// | to GET, with `s-maxage`, `max-age` or `Expires` | is stored and used for that time |
/// | with `no-cache` or without a lifetime left, with an `ETag` or a `Last-Modified` | is stored, and the app is asked each time whether it is still right (`If-None-Match`, `If-Modified-Since`). A 304 of the app saves the page, not the question |
/// | without any of these | is not stored, whatever validators it has; see `heuristic_freshness` |
/// | with `private` or `no-store`, also for one header only; with `Set-Cookie`, or `Vary: *` | is not stored |
/// | to a request with `Authorization`, or with a client certificate, or that a layer above has let pass because of who its client is (`basic_auth`, `api_key`, `jwt`, `oidc`, `forward_auth`) | is not stored, unless it has `public`, `s-maxage` or `must-revalidate` |
/// | with `Vary` | is used for requests with the same values. Of `Accept-Encoding`, what the client accepts counts, not how it writes it |
/// | with `CDN-Cache-Control` (RFC 9213), as in `CDN-Cache-Control: max-age=3600` | is judged by that field alone. `Cache-Control` and `Expires` are for browsers then. All of them go on to the client |
/// | longer than `entry`, or not as long as its `Content-Length` says, or cut off | is not stored |
///
/// A stored response answers GET and HEAD, ranges of one part, `If-None-Match` and `If-Modified-Since`. The app does not see these conditions while its response may be stored, so that it sends all of it.
/// A range of what is not stored passes: parts are not stored. Upgrades and CONNECT pass untouched.
///
/// What a 304 says, such as a new `Cache-Control`, takes the place of what is stored. If the response could not be stored with it, because the 304 has a `Set-Cookie` or says `private`, the client that asked gets it, and
/// it is removed.
///
/// A HEAD of what is not fresh goes to the app. If its response has the validators of the stored one, this is fresh again, with the headers of the new one; if it has others, the stored one is removed
/// (RFC 9111 section 4.3.5).
///
/// | stale responses | |
/// | --- | --- |
/// | `stale-while-revalidate=30` (RFC 5861) | for so many seconds the stale response is sent at once, and one call in the background fetches a new one. After a call that failed there are 5 s of pause |
/// | `stale-if-error=600` (RFC 5861) | for so many seconds the stale response stands in for a 500, 502, 503 or 504 of the app |
/// | `must-revalidate`, `proxy-revalidate`, `no-cache` | forbid both. `s-maxage` does not: an app that writes it beside `stale-while-revalidate` means both |
///
/// **Requests that come together.** While one request fetches a response, others that ask for the same wait for it, up to `wait` and up to 1024 of them. If the response turns out to be for one client alone, all
/// the others call the app at once, each for itself, and for 2 minutes requests for this URL do not wait for each other. The body goes to the first client while it is received; the others get it when it is whole. It is
/// received as fast as the app sends it, so no slow client delays others. A client that leaves before the head of the response is there cancels its call, unless others wait for it. Later, the rest is received for
/// the cache, for up to 60 s.
///
/// **Invalidation.** A POST, PUT, DELETE or PATCH without an error removes what is stored of its URL, and of the URLs in `Location` and `Content-Location` of the same site. `ziggurat purge` removes by path, and by the
/// tags that responses have in `Cache-Tag`. What is being fetched meanwhile is not stored.
///
/// **The URL** is scheme, host, path and query, with the prefix of mounts and after a `rewrite` above. Each layer has its own responses.
///
/// Each response says in `Cache-Status` (RFC 9211) where it comes from: `ziggurat; hit; ttl=52`, or `ziggurat; fwd=uri-miss; stored; ttl=60`. `Age` is its age.
///
/// Of the public suite [cache-tests](https://cache-tests.fyi), the layer keeps what is required, but that it stores no response with `Set-Cookie`, and no 200 with `Content-Range`. What the suite calls optimal and is not done:
/// parts are neither stored nor completed, responses to POST are not stored, freshness is guessed only with `heuristic_freshness`, and the languages of `Vary: Accept-Language` are compared as they are written.
///
/// Responses are kept in memory, and over a reload. There is no tier on disk: a page of an app is small, the kernel's cache would hold the same octets again, and a restart that begins with an empty cache cannot serve
/// what a new release of the app would not send.
///
/// Place it above `compress`, so that compressed pages are stored and a hit costs no compression: one response is stored for each encoding that clients accept. Place it below everything that decides who may see a page,
/// and below layers whose answers are about one request, such as `request_id` and `server_timing`. Below a Python layer, each worker has a cache of its own, and `ziggurat purge` does not reach it.
///
/// ```json
/// {
///   "layers": ["request_id", "access_log", { "cache": { "total_memory": "256MiB", "ignore_query": ["utm_*", "fbclid"] } }, "compress"],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// The memory that stored responses may take together, with those that are being received. The response that was used longest ago makes room.
    total_memory: Size,
    /// The longest body that is stored.
    entry: Size,
    /// The most URLs whose responses are stored.
    #[schemars(range(min = 1, max = 10_000_000))]
    entries: usize,
    /// How long a request waits for the response to another one that asks for the same. Then it calls the app itself.
    wait: Duration,
    /// Query parameters that do not change the response, such as those of advertising: `"utm_*"`, `"fbclid"`. Requests that differ in these alone share a response.
    ignore_query: OneOrMany<String>,
    /// How long at most a response may be used that does not say how long. It is a tenth of the time since its `Last-Modified` (RFC 9111 section 4.2.2). By default no such response is used.
    heuristic_freshness: Duration,
    /// Whether `Cache-Control` of requests counts. Without it, clients cannot make the app render a page anew.
    request_control: bool,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            total_memory: Size::mib(64),
            entry: Size::mib(1),
            entries: 10_000,
            wait: Duration::secs(10),
            ignore_query: OneOrMany::default(),
            heuristic_freshness: Duration::secs(0),
            request_control: true,
        }
    }
}

impl Middleware for Cache {
    const NAME: &'static str = "cache";
    const SHORTHAND: Option<&'static str> = Some("total_memory");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::NeedsConnectionInfo, Behavior::StoresResponses, Behavior::AnswersEarly];

    fn validate(&self, findings: &mut Findings) {
        let Self { total_memory, entry, .. } = *self;
        if entry.0 == 0 {
            findings.push(Finding::new("nothing is stored").at("entry").hint("give it a size, as in `\"1MiB\"`"));
        }
        if entry.0.saturating_mul(2) > total_memory.0 {
            let finding = Finding::new(format!("one body may take `{entry}`, and all together `{total_memory}`"));
            findings.push(finding.at("total_memory").hint("make it several times `entry`"));
        }
        if !(1..=10_000_000).contains(&self.entries) {
            findings.push(Finding::new("no such number of URLs can be stored").at("entries").hint("between 1 and 10000000"));
        }
        for (index, name) in self.ignore_query.0.iter().enumerate() {
            if name.is_empty() || name.trim_end_matches('*').contains(['*', '&', '=', '?', '#']) {
                let finding = Finding::new(format!("`{name}` is not the name of a query parameter")).at("ignore_query").at(index);
                findings.push(finding.hint("write `fbclid` or `utm_*`"));
            }
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        let heuristic = self.heuristic_freshness.0;
        let asked = match Kind::of(explain.request(), &IgnoredParameters(self.ignore_query.0), self.request_control) {
            Kind::Lookup(asked) => asked,
            Kind::Unsafe(url) => {
                explain.note(format!("passes; a response without an error removes what is stored of {url}"));
                return Ok(());
            }
            Kind::Pass(_) | Kind::Tunnel => {
                explain.note("passes: caches do not answer such a request");
                return Ok(());
            }
        };
        explain.note(format!("looks up {}", asked.url));
        if asked.control.only_if_cached {
            explain.may_answer(StatusCode::GATEWAY_TIMEOUT, "if the response is not stored: the request is `only-if-cached`");
        }
        if !asked.may_fill() {
            explain.note("if it is not stored, the request passes, and nothing is stored of the response");
            return Ok(());
        }
        let headers = explain.request().headers().clone();
        let is_stripped = asked.is_shared();
        if is_stripped {
            without_conditions(explain.request_mut().headers_mut());
        }
        explain.on_response(move |response| {
            let Some(known) = response.known() else {
                return response
                    .note("stores the response if it says how long it is fresh, and is not `private`, `no-store` or with a cookie");
            };
            let reason = unstorable(known.status(), known.headers(), asked.is_personal, heuristic);
            let now = Instant::now();
            let ttl = reason.is_none().then(|| Freshness::new(known.status(), known.headers(), now, heuristic).ttl(now));
            if is_stripped && known.status() == StatusCode::OK && is_not_modified(known.headers(), &headers) {
                *known = not_modified(std::mem::take(known.headers_mut()));
            }
            CacheStatus::Forward(Forward { stored: ttl, ..Why::UriMiss.forward() }).tell(known);
            response.note(reason.map_or_else(|| "stores the response".to_owned(), |reason| format!("not stored: {reason}")));
        });
        Ok(())
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let bounds = Bounds { total: self.total_memory.0, entries: self.entries };
        let store = context.keep(|| Store::new(bounds));
        store.bound(bounds);
        let figures = context.keep(Figures::default);
        figures.show(&store, context);
        let cache = Arc::new(Running {
            store,
            figures,
            ignored: IgnoredParameters(self.ignore_query.0),
            obeys: self.request_control,
            heuristic: self.heuristic_freshness.0,
            limit: self.entry.0,
            wait: self.wait.0,
            refreshes: Arc::new(Semaphore::new(REFRESHES)),
            context: context.clone(),
        });
        let (store, ignored, obeys) = (Arc::clone(&cache.store), cache.ignored.clone(), cache.obeys);
        context.on_explain(move |request| vec![now(&store, &ignored, obeys, request)]);
        let store = Arc::clone(&cache.store);
        context.on_purge(move |purge| store.purge(purge));
        Ok(CacheLayer(cache))
    }
}

/// What is stored for a request.
fn now(store: &Store, ignored: &IgnoredParameters, obeys: bool, request: &Request) -> String {
    let Kind::Lookup(asked) = Kind::of(request, ignored, obeys) else { return "caches do not answer such a request".to_owned() };
    let Some(stored) = store.peek(&asked.url, request.headers()) else { return "not stored".to_owned() };
    let now = Instant::now();
    let (age, ttl) = (stored.age(now), stored.freshness.ttl(now));
    let state = match stored.freshness.reuse(&asked.control, now) {
        Reuse::Fresh => format!("fresh for another {ttl} s"),
        Reuse::Stale => "stale, which the client accepts".to_owned(),
        Reuse::StaleWhileRevalidate => "stale, and served while it is fetched anew".to_owned(),
        Reuse::ClientDeclines => "not used: the client wants a newer one".to_owned(),
        Reuse::No => "not used before the app has validated it".to_owned(),
    };
    format!("stored {} of {} octets, {age} s old: {state}", stored.status.as_u16(), stored.body.len())
}
