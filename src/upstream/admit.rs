//! Admission: which endpoint a request goes to, and when.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use http::StatusCode;
use tokio::time::{Instant, timeout_at};
use ziggurat_middleware::metrics::Counter;

use super::Upstream;
use super::balance::Candidate;
use super::eject::{Change, Epoch, Standing};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::protocol::Protocol;
use super::set::{Member, Set};

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Want {
    /// What it has in common with others that belong to the same endpoint.
    pub(super) key: Option<u64>,
    /// The endpoint that its cookie names.
    pub(super) sticky: Option<u64>,
    /// Endpoints where it has failed.
    pub(super) tried: Vec<u64>,
    /// The endpoint that gets it again.
    pub(super) again: Option<u64>,
}

/// Why a request gets no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many wait.
    Full,
    /// It has waited too long.
    Late,
    /// No endpoint is well.
    Down,
    /// There is no endpoint: no name has an address.
    Unresolved,
}

/// A request's place at an endpoint. Dropped, it is free for the next one that waits.
pub(crate) struct Ticket<P: Protocol> {
    upstream: Arc<Upstream<P>>,
    endpoint: Arc<Endpoint<P>>,
    /// What the result counts for, until there is one.
    epoch: Option<Epoch>,
    is_tunnel: bool,
}

enum Admitted<P: Protocol> {
    At(Ticket<P>),
    Full,
    Refused(Refused),
}

impl<P: Protocol> Upstream<P> {
    /// Waits for a place at an endpoint.
    pub(super) async fn admit(self: &Arc<Self>, want: &Want) -> Result<Ticket<P>, Refused> {
        self.resolved().await;
        let queue = &self.memory.queue;
        if queue.length() == 0 {
            match self.try_admit(want) {
                Admitted::At(ticket) => return Ok(ticket),
                Admitted::Refused(refused) => return Err(refused),
                Admitted::Full => {}
            }
        }
        let since = Instant::now();
        let Some(_place) = queue.enter(self.settings.queue.limit) else {
            queue.refused_full.add(1);
            return Err(Refused::Full);
        };
        let until = since + self.settings.queue.wait();
        loop {
            let turn = queue.turn();
            let mut turn = std::pin::pin!(turn);
            // Before the attempt, so that no place that becomes free after it is missed.
            turn.as_mut().enable();
            match self.try_admit(want) {
                Admitted::At(ticket) => {
                    queue.waits.observe(since.elapsed());
                    return Ok(ticket);
                }
                Admitted::Refused(refused) => return Err(refused),
                Admitted::Full => {}
            }
            if timeout_at(until, turn).await.is_err() {
                queue.refused_waited.add(1);
                return Err(Refused::Late);
            }
        }
    }

    fn try_admit(self: &Arc<Self>, want: &Want) -> Admitted<P> {
        let set = self.set.load();
        if set.members.is_empty() {
            self.nudge.notify_waiters();
            return Admitted::Refused(Refused::Unresolved);
        }
        let now = Instant::now();
        let is_well = |member: &&Member<P>| self.is_well(member, now);
        for wanted in want.again.iter().chain(&want.sticky) {
            let named = set.members.iter().filter(is_well).find(|member| member.endpoint.state.id == *wanted);
            let named = named.filter(|_| want.again == Some(*wanted) || !want.tried.contains(wanted));
            if let Some(ticket) = named.and_then(|member| self.enter(member, now)) {
                return Admitted::At(ticket);
            }
        }
        for among in [&want.tried[..], &[]] {
            // One may fill up at this moment; then another one is chosen, at most as often as there are endpoints.
            for _ in 0..=set.members.len() {
                let Some(at) = self.choose(&set, want, among, now) else { break };
                if let Some(ticket) = self.enter(&set.members[at], now) {
                    return Admitted::At(ticket);
                }
            }
        }
        let is_any_well = set.members.iter().filter(is_well).any(|member| member.weight > 0);
        if is_any_well { Admitted::Full } else { Admitted::Refused(Refused::Down) }
    }

    fn choose(&self, set: &Set<P>, want: &Want, but: &[u64], now: Instant) -> Option<usize> {
        let is_candidate = |member: &Member<P>| {
            let state = &member.endpoint.state;
            member.weight > 0 && state.under_way() < self.settings.limit && !but.contains(&state.id) && self.is_well(member, now)
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
        self.settings.balance.choose(&candidates, want.key, &set.turns)
    }

    fn is_well(&self, member: &Member<P>, now: Instant) -> bool {
        let state = &member.endpoint.state;
        state.health.is_up() && (self.settings.eject.is_none() || !matches!(state.breaker.standing(now), Standing::Out(_)))
    }

    fn enter(self: &Arc<Self>, member: &Member<P>, now: Instant) -> Option<Ticket<P>> {
        let state = &member.endpoint.state;
        if !state.enter(self.settings.limit) {
            return None;
        }
        // From here on it leaves by being dropped.
        let mut ticket = Ticket { upstream: Arc::clone(self), endpoint: Arc::clone(&member.endpoint), epoch: None, is_tunnel: false };
        if self.settings.eject.is_some() {
            ticket.epoch = Some(state.breaker.enter(now)?);
        }
        Some(ticket)
    }

    /// Whether one more endpoint may be ejected.
    fn may_eject(&self, now: Instant) -> bool {
        let set = self.set.load();
        let is_out = |member: &&Member<P>| !matches!(member.endpoint.state.breaker.standing(now), Standing::In);
        let ejected = set.members.iter().filter(is_out).count();
        self.settings.eject.is_some_and(|options| options.allows(ejected, set.members.len()))
    }
}

impl<P: Protocol> Ticket<P> {
    pub(crate) const fn endpoint(&self) -> &Arc<Endpoint<P>> {
        &self.endpoint
    }

    /// An answer has come. A gateway's own errors speak against the endpoint (RFC 9110 sections 15.6.3 to 15.6.5).
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.endpoint.state.counters.answered(status);
        match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                self.count_failure(&format_args!("it answered {}", status.as_u16()));
            }
            _ => {
                if let Some(epoch) = self.epoch
                    && self.endpoint.state.breaker.succeed(epoch) == Change::Returned
                {
                    tracing::info!(
                        app = self.upstream.place.as_str(),
                        upstream = &*self.endpoint.label,
                        "it answers again and gets requests as before"
                    );
                    self.upstream.memory.queue.all();
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
        if failure.phase == super::failure::Phase::Connect {
            // Perhaps its name has other addresses by now.
            self.upstream.nudge.notify_waiters();
        }
    }

    fn count_failure(&mut self, cause: &dyn std::fmt::Display) {
        let (Some(epoch), Some(options)) = (self.epoch.take(), &self.upstream.settings.eject) else { return };
        let now = Instant::now();
        // Counted before the endpoint's own record is locked.
        let may_eject = self.upstream.may_eject(now);
        if let Change::Ejected(time) = self.endpoint.state.breaker.fail(epoch, now, options, || may_eject) {
            self.endpoint.state.counters.ejections.add(1);
            tracing::warn!(
                app = self.upstream.place.as_str(),
                upstream = &*self.endpoint.label,
                "it fails and gets no requests for {time:?}: {cause}"
            );
        }
    }

    /// The counters of octets through tunnels, to the endpoint and from it.
    pub(crate) fn octets(&self) -> (&Counter, &Counter) {
        let counters = &self.endpoint.state.counters;
        (&counters.sent, &counters.received)
    }

    /// What follows is a tunnel.
    pub(crate) fn open_tunnel(&mut self) {
        if !self.is_tunnel {
            self.is_tunnel = true;
            self.endpoint.state.tunnels.fetch_add(1, SeqCst);
        }
    }
}

impl<P: Protocol> Drop for Ticket<P> {
    fn drop(&mut self) {
        let state = &self.endpoint.state;
        if let Some(epoch) = self.epoch {
            state.breaker.forget(epoch);
        }
        if self.is_tunnel {
            state.tunnels.fetch_sub(1, SeqCst);
        }
        state.leave();
        self.upstream.memory.queue.next();
    }
}
