//! What becomes of a request: a stored response, or a call of the app whose response may be stored.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::future::Either;
use http::header::{CONTENT_LOCATION, LOCATION};
use http::{Method, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tower::{Layer, Service};

use super::asked::{Asked, Kind, without_conditions};
use super::detached::Detached;
use super::fetch::{Call, answer, without_body};
use super::figures::Figures;
use super::flight::Landing;
use super::freshness::Reuse;
use super::key::{IgnoredParameters, same_origin};
use super::status::{CacheStatus, Forward, Why};
use super::store::{Entry, Store};
use super::stored::{Asking, Compared, StoredResponse};
use crate::trace::Trace;
use crate::{Context, Next, NextFuture, Problem, Request, RequestSummary, Response};

/// How many responses are refreshed at once while stale ones are served.
pub(super) const REFRESHES: usize = 64;
/// How long the app may take for the head of one of them.
const REFRESH_TIME: std::time::Duration = std::time::Duration::from_secs(60);

/// The cache of one layer.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) store: Arc<Store>,
    pub(super) figures: Arc<Figures>,
    pub(super) ignored: IgnoredParameters,
    /// Whether `Cache-Control` of requests counts.
    pub(super) obeys: bool,
    pub(super) heuristic: std::time::Duration,
    /// The most octets of a body.
    pub(super) limit: u64,
    pub(super) wait: std::time::Duration,
    pub(super) refreshes: Arc<Semaphore>,
    /// For tasks.
    pub(super) context: Context,
}

/// What is known of a request that the cache does not answer.
#[derive(Debug)]
struct Miss {
    asked: Asked,
    why: Why,
    /// A response that has to be validated.
    stale: Option<Arc<StoredResponse>>,
}

impl Layer<Next> for CacheLayer {
    type Service = CacheService;

    fn layer(&self, inner: Next) -> CacheService {
        CacheService { cache: Arc::clone(&self.0), inner }
    }
}

pub(super) struct CacheLayer(pub(super) Arc<Cache>);

#[derive(Clone)]
pub(super) struct CacheService {
    cache: Arc<Cache>,
    inner: Next,
}

impl Service<Request> for CacheService {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, NextFuture>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        // `Next` is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (cache, next) = (&self.cache, &self.inner);
        match Kind::of(&request, &cache.ignored, cache.obeys) {
            Kind::Tunnel => Either::Right(next.send(request)),
            Kind::Pass(why) => {
                let (cache, next) = (Arc::clone(cache), next.clone());
                Either::Right(Box::pin(async move { Ok(cache.pass(request, next, why.forward()).await) }))
            }
            Kind::Unsafe(url) => {
                let (cache, next) = (Arc::clone(cache), next.clone());
                Either::Right(Box::pin(async move { Ok(cache.change(request, next, &url).await) }))
            }
            Kind::Lookup(asked) => match cache.look_up(asked, &request, next) {
                Ok(response) => Either::Left(ready(Ok(response))),
                Err(miss) => {
                    let (cache, next) = (Arc::clone(cache), next.clone());
                    Either::Right(Box::pin(async move { Ok(cache.go(miss, request, next).await) }))
                }
            },
        }
    }
}

impl Cache {
    /// Answers from the cache if it can.
    fn look_up(self: &Arc<Self>, asked: Asked, request: &Request, next: &Next) -> Result<Response, Box<Miss>> {
        let now = Instant::now();
        let (stored, has_others) = self.store.find(&asked.url, request.headers());
        let Some(stored) = stored else {
            let why = if has_others { Why::VaryMiss } else { Why::UriMiss };
            return self.only_if_cached(asked, why, None);
        };
        let why = match stored.freshness.reuse(&asked.control, now) {
            Reuse::Fresh => {
                self.figures.hits.add(1);
                return Ok(answer(&stored, &asked.method, request.headers(), CacheStatus::Hit(stored.freshness.ttl(now))));
            }
            reuse @ (Reuse::Stale | Reuse::StaleWhileRevalidate) => {
                if reuse == Reuse::StaleWhileRevalidate {
                    self.refresh(&asked, &stored, request, next);
                }
                self.figures.stale.add(1);
                return Ok(answer(&stored, &asked.method, request.headers(), CacheStatus::Hit(stored.freshness.ttl(now))));
            }
            Reuse::ClientDeclines => Why::Request,
            Reuse::No => Why::Stale,
        };
        self.only_if_cached(asked, why, Some(stored))
    }

    fn only_if_cached(&self, asked: Asked, why: Why, stale: Option<Arc<StoredResponse>>) -> Result<Response, Box<Miss>> {
        if !asked.control.only_if_cached {
            return Err(Box::new(Miss { asked, why, stale }));
        }
        self.figures.misses.add(1);
        let problem =
            Problem::new(StatusCode::GATEWAY_TIMEOUT).detail("the response is not in the cache, and the request is `only-if-cached`");
        let mut response = problem.into_response();
        CacheStatus::Forward(why.forward()).tell(&mut response);
        Ok(response)
    }

    /// Sends a request to the app, and nothing of it is stored.
    async fn pass(&self, request: Request, next: Next, forward: Forward) -> Response {
        self.figures.passed.add(1);
        let mut response = next.run(request).await;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            CacheStatus::Forward(forward).tell(&mut response);
        }
        response
    }

    /// A request that changes something: what is stored of it is not right any more (RFC 9111 section 4.4).
    async fn change(&self, request: Request, next: Next, url: &str) -> Response {
        let response = self.pass(request, next, Why::Method.forward()).await;
        if response.status().is_success() || response.status().is_redirection() {
            self.store.invalidate(url);
            for location in [LOCATION, CONTENT_LOCATION] {
                let named = response.headers().get(location).and_then(|value| value.to_str().ok());
                if let Some(other) = named.and_then(|named| same_origin(url, named)) {
                    self.store.invalidate(&other);
                }
            }
        }
        response
    }

    /// Gets a response that is not in the cache: alone, with others, or for others, too.
    async fn go(self: Arc<Self>, miss: Box<Miss>, request: Request, next: Next) -> Response {
        let Miss { asked, mut why, mut stale } = *miss;
        if !asked.may_fill() {
            return match stale {
                Some(stale) if asked.method == Method::HEAD && !asked.is_personal && !asked.control.no_store => {
                    self.ask_for_head(&asked, &stale, request, next, why).await
                }
                _ => self.pass(request, next, why.forward()).await,
            };
        }
        let headers = Arc::new(request.headers().clone());
        let deadline = Instant::now() + self.wait;
        let is_shared = asked.is_shared();
        loop {
            let waiter = match self.store.enter(&asked.url, &headers, is_shared) {
                Entry::Lead(lead) => {
                    let flight = Arc::clone(&lead.flight);
                    let context = self.context.clone();
                    let call = Call { asked, headers, why, stale, is_refresh: false };
                    let fetch = async move { self.fetch(lead, call, request, &next).await };
                    return Detached::new(Box::pin(fetch), flight, context).await;
                }
                Entry::Found(stored) => {
                    self.figures.hits.add(1);
                    return answer(&stored, &asked.method, &headers, CacheStatus::Hit(stored.freshness.ttl(Instant::now())));
                }
                Entry::Wait(waiter) => waiter,
                Entry::Alone => return self.pass(request, next, why.forward()).await,
            };
            match timeout_at(deadline, waiter.landing()).await {
                Ok(Landing::Response(stored)) if stored.selection.fits(&headers) => {
                    self.figures.collapsed.add(1);
                    return answer(&stored, &asked.method, &headers, CacheStatus::Forward(Forward { collapsed: true, ..why.forward() }));
                }
                // A response for others, which has told by what headers this one is to be found.
                Ok(Landing::Response(_)) => {}
                Ok(Landing::Nothing) | Err(_) => return self.pass(request, next, why.forward()).await,
            }
            (stale, _) = self.store.find(&asked.url, &headers);
            why = if stale.is_some() { Why::Stale } else { Why::VaryMiss };
        }
    }

    /// Sends a HEAD to the app. The response says whether the one that is stored is still right (RFC 9111 section 4.3.5).
    async fn ask_for_head(&self, asked: &Asked, stored: &Arc<StoredResponse>, request: Request, next: Next, why: Why) -> Response {
        let (headers, asked_at) = (request.headers().clone(), Instant::now());
        let response = self.pass(request, next, why.forward()).await;
        if response.status() != StatusCode::OK || stored.status != StatusCode::OK {
            return response;
        }
        let by = match stored.compared(response.headers()) {
            Compared::Unknown => return response,
            Compared::Other => None,
            Compared::Same => {
                let asking = Asking { headers: &headers, is_personal: asked.is_personal, at: asked_at, heuristic: self.heuristic };
                stored.freshened(response.headers(), &asking).filter(|freshened| freshened.may_store).map(|freshened| freshened.response)
            }
        };
        self.store.replace(&asked.url, stored, by);
        response
    }

    /// Fetches a stale response anew while it is served, if nobody does.
    fn refresh(self: &Arc<Self>, asked: &Asked, stale: &Arc<StoredResponse>, request: &Request, next: &Next) {
        if Handle::try_current().is_err() || !self.store.may_refresh(&asked.url) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.refreshes).try_acquire_owned() else { return };
        let is_shared = !asked.is_personal;
        let Entry::Lead(lead) = self.store.enter(&asked.url, request.headers(), is_shared) else { return };
        let asked = Asked { method: Method::GET, is_range: false, control: Default::default(), ..asked.clone() };
        let call =
            Call { asked, headers: Arc::new(request.headers().clone()), why: Why::Stale, stale: Some(Arc::clone(stale)), is_refresh: true };
        let mut head = without_body(request);
        *head.method_mut() = Method::GET;
        without_conditions(head.headers_mut());
        // It belongs to no request of a client: not to its time, nor to its trace.
        let summary = RequestSummary::new(head.method(), head.uri(), head.extensions());
        head.extensions_mut().insert(summary);
        head.extensions_mut().remove::<Trace>();
        let (cache, next) = (Arc::clone(self), next.clone());
        self.context.spawn(async move {
            let url = Arc::clone(&call.asked.url);
            if timeout(REFRESH_TIME, cache.fetch(lead, call, head, &next)).await.is_err() {
                cache.store.pause(&url);
            }
            drop(permit);
        });
    }
}
