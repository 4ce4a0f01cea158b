//! Admission: chooses an endpoint for a request, or lets the request wait in the queue.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use http::StatusCode;
use tokio::time::{Instant, timeout_at};
use ziggurat_middleware::metrics::Counter;

use super::Upstream;
use super::balance::Candidate;
use super::eject::{BreakerChange, BreakerState, Epoch};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::protocol::Protocol;
use super::set::{EndpointSet, SetMember};

/// Which endpoints a request prefers.
#[derive(Clone, Debug, Default)]
pub(super) struct Preference {
    /// The hash that `balance` chooses by.
    pub(super) key: Option<u64>,
    /// The endpoint in the sticky cookie, unless the request has failed there.
    pub(super) sticky: Option<u64>,
    /// Endpoints where the request has failed.
    pub(super) tried: Vec<u64>,
    /// The endpoint that gets the request again, on a new connection.
    pub(super) again: Option<u64>,
}

/// Why a request gets no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdmitError {
    /// The queue is full.
    Full,
    /// The request has waited too long.
    Late,
    /// No endpoint is healthy.
    Down,
    /// There is no endpoint, because no name has an address.
    Unresolved,
}

/// Permission to send one request to an endpoint. When it is dropped, the next request in the queue can go.
pub(crate) struct EndpointPermit<P: Protocol> {
    upstream: Arc<Upstream<P>>,
    endpoint: Arc<Endpoint<P>>,
    /// The epoch of the breaker in which the attempt began. `None` after the attempt has failed.
    epoch: Option<Epoch>,
    is_tunnel: bool,
}

enum Admitted<P: Protocol> {
    At(EndpointPermit<P>),
    Full,
    Refused(AdmitError),
}

impl<P: Protocol> Upstream<P> {
    /// Waits until an endpoint takes the request.
    pub(super) async fn admit(self: &Arc<Self>, preference: &Preference) -> Result<EndpointPermit<P>, AdmitError> {
        self.resolved().await;
        let queue = &self.state.queue;
        if queue.length() == 0 {
            match self.try_admit(preference) {
                Admitted::At(permit) => return Ok(permit),
                Admitted::Refused(refused) => return Err(refused),
                Admitted::Full => {}
            }
        }
        let since = Instant::now();
        let Some(_place) = queue.enter(self.settings.queue.limit) else {
            queue.refused_full.add(1);
            return Err(AdmitError::Full);
        };
        let until = since + self.settings.queue.wait();
        loop {
            let turn = queue.turn();
            let mut turn = std::pin::pin!(turn);
            // Registered before the attempt, so that a permit which is dropped after it is not missed.
            turn.as_mut().enable();
            match self.try_admit(preference) {
                Admitted::At(permit) => {
                    queue.waits.observe(since.elapsed());
                    return Ok(permit);
                }
                Admitted::Refused(refused) => return Err(refused),
                Admitted::Full => {}
            }
            if timeout_at(until, turn).await.is_err() {
                queue.refused_waited.add(1);
                return Err(AdmitError::Late);
            }
        }
    }

    fn try_admit(self: &Arc<Self>, preference: &Preference) -> Admitted<P> {
        let set = self.set.load();
        if set.members.is_empty() {
            self.lookup_requested.notify_waiters();
            return Admitted::Refused(AdmitError::Unresolved);
        }
        let now = Instant::now();
        let is_healthy = |member: &&SetMember<P>| self.is_healthy(member, now);
        for wanted in preference.again.iter().chain(&preference.sticky) {
            let named = set.members.iter().filter(is_healthy).find(|member| member.endpoint.state.id == *wanted);
            if let Some(permit) = named.and_then(|member| self.enter(member, now)) {
                return Admitted::At(permit);
            }
        }
        for among in [&preference.tried[..], &[]] {
            // The endpoint may have reached its limit since it was chosen. Then another one is chosen.
            for _ in 0..=set.members.len() {
                let Some(at) = self.choose(&set, preference, among, now) else { break };
                if let Some(permit) = self.enter(&set.members[at], now) {
                    return Admitted::At(permit);
                }
            }
        }
        let is_any_healthy = set.members.iter().filter(is_healthy).any(|member| member.weight > 0);
        if is_any_healthy { Admitted::Full } else { Admitted::Refused(AdmitError::Down) }
    }

    /// The endpoint that the sticky cookie has to name after a response of `answered`, if the client's cookie does not stay. It stays where its endpoint is healthy, even if that was full.
    pub(super) fn new_sticky(&self, preference: &Preference, answered: u64) -> Option<u64> {
        let (set, now) = (self.set.load(), Instant::now());
        let stays = |wanted: u64| {
            let is_it = |member: &&SetMember<P>| member.endpoint.state.id == wanted;
            wanted == answered || set.members.iter().find(is_it).is_some_and(|member| self.is_healthy(member, now))
        };
        (!preference.sticky.is_some_and(stays)).then_some(answered)
    }

    fn choose(&self, set: &EndpointSet<P>, preference: &Preference, but: &[u64], now: Instant) -> Option<usize> {
        let is_candidate = |member: &SetMember<P>| {
            let state = &member.endpoint.state;
            member.weight > 0 && state.under_way() < self.settings.limit && !but.contains(&state.id) && self.is_healthy(member, now)
        };
        if let [only] = &set.members[..] {
            return is_candidate(only).then_some(0);
        }
        let candidates: Vec<Candidate> = set
            .members
            .iter()
            .enumerate()
            .filter(|(_, member)| is_candidate(member))
            .map(|(at, member)| {
                let state = &member.endpoint.state;
                Candidate { at, weight: member.weight, under_way: state.under_way(), seed: state.seed }
            })
            .collect();
        self.settings.balance.choose(&candidates, preference.key, &set.turns)
    }

    fn is_healthy(&self, member: &SetMember<P>, now: Instant) -> bool {
        let state = &member.endpoint.state;
        state.health.is_up() && (self.settings.eject.is_none() || !matches!(state.breaker.state(now), BreakerState::Out(_)))
    }

    fn enter(self: &Arc<Self>, member: &SetMember<P>, now: Instant) -> Option<EndpointPermit<P>> {
        let state = &member.endpoint.state;
        if !state.enter(self.settings.limit) {
            return None;
        }
        // From here on, dropping the permit undoes the count.
        let mut permit =
            EndpointPermit { upstream: Arc::clone(self), endpoint: Arc::clone(&member.endpoint), epoch: None, is_tunnel: false };
        if self.settings.eject.is_some() {
            permit.epoch = Some(state.breaker.enter(now)?);
        }
        Some(permit)
    }

    /// Whether one more endpoint may be ejected.
    fn may_eject(&self, now: Instant) -> bool {
        let set = self.set.load();
        let is_out = |member: &&SetMember<P>| !matches!(member.endpoint.state.breaker.state(now), BreakerState::In);
        let ejected = set.members.iter().filter(is_out).count();
        self.settings.eject.is_some_and(|options| options.allows(ejected, set.members.len()))
    }
}

impl<P: Protocol> EndpointPermit<P> {
    pub(crate) const fn endpoint(&self) -> &Arc<Endpoint<P>> {
        &self.endpoint
    }

    /// The endpoint has answered. 502, 503 and 504 count as failures (RFC 9110 sections 15.6.3 to 15.6.5).
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.endpoint.state.counters.answered(status);
        match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                self.count_failure(&format_args!("status {}", status.as_u16()));
            }
            _ => {
                if let Some(epoch) = self.epoch
                    && self.endpoint.state.breaker.succeed(epoch) == BreakerChange::Returned
                {
                    tracing::info!(app = self.upstream.place.as_str(), upstream = &*self.endpoint.label, "no longer ejected");
                    self.upstream.state.queue.all();
                }
            }
        }
    }

    /// The attempt has failed.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.endpoint.state.counters.failed(failure.kind);
        if failure.kind.is_held_against_endpoint() {
            self.count_failure(failure);
        }
        if failure.phase == super::failure::FailurePhase::Connect {
            // The addresses of its name may have changed.
            self.upstream.lookup_requested.notify_waiters();
        }
    }

    fn count_failure(&mut self, cause: &dyn std::fmt::Display) {
        let (Some(epoch), Some(options)) = (self.epoch.take(), &self.upstream.settings.eject) else { return };
        let now = Instant::now();
        // Counted before the breaker is locked: it locks all breakers in turn.
        let may_eject = self.upstream.may_eject(now);
        if let BreakerChange::Ejected(time) = self.endpoint.state.breaker.fail(epoch, now, options, || may_eject) {
            self.endpoint.state.counters.ejections.add(1);
            tracing::warn!(app = self.upstream.place.as_str(), upstream = &*self.endpoint.label, "ejected for {time:?}: {cause}");
        }
    }

    /// The counters of octets through tunnels: sent, received.
    pub(crate) fn octets(&self) -> (&Counter, &Counter) {
        let counters = &self.endpoint.state.counters;
        (&counters.sent, &counters.received)
    }

    /// Counts the request as a tunnel from now on.
    pub(crate) fn open_tunnel(&mut self) {
        if !self.is_tunnel {
            self.is_tunnel = true;
            self.endpoint.state.tunnels.fetch_add(1, SeqCst);
        }
    }
}

impl<P: Protocol> Drop for EndpointPermit<P> {
    fn drop(&mut self) {
        let state = &self.endpoint.state;
        if let Some(epoch) = self.epoch {
            state.breaker.forget(epoch);
        }
        if self.is_tunnel {
            state.tunnels.fetch_sub(1, SeqCst);
        }
        state.leave();
        self.upstream.state.queue.next();
    }
}
