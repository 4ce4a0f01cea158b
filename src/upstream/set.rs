//! The endpoints of an upstream at one moment, and how names become endpoints.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::{Instant, sleep, timeout};

use super::Upstream;
use super::balance::Turns;
use super::endpoint::{Endpoint, identity};
use super::pool::Pool;
use super::protocol::Protocol;
use super::target::{Address, Host, Target};

/// The endpoints at one moment.
pub(super) struct Set<P: Protocol> {
    pub(super) members: Vec<Member<P>>,
    pub(super) turns: Turns,
}

/// An endpoint among others.
pub(crate) struct Member<P: Protocol> {
    pub(super) endpoint: Arc<Endpoint<P>>,
    /// 0 for one that gets only requests whose cookie names it.
    pub(super) weight: u32,
}

impl<P: Protocol> Default for Set<P> {
    fn default() -> Self {
        Self { members: Vec::new(), turns: Turns::default() }
    }
}

/// An entry of the file with the addresses that are known for it.
pub(super) struct Entry {
    pub(super) target: Target,
    pub(super) weight: u32,
    /// `None` until its name was looked up for the first time.
    addresses: Option<BTreeSet<IpAddr>>,
}

impl Entry {
    pub(super) const fn new(target: Target, weight: u32) -> Self {
        Self { target, weight, addresses: None }
    }
}

/// How long after a look-up that was asked for out of turn the next one may be asked for.
const PAUSE: Duration = Duration::from_secs(1);

/// Addresses of one name that are used.
const MOST_ADDRESSES: usize = 64;

impl<P: Protocol> Upstream<P> {
    /// Makes the endpoints of what is known now. Those that were there before stay as they are.
    pub(super) fn rebuild(&self) {
        let entries = self.lock_entries();
        let before = self.set.load_full();
        let mut members: Vec<Member<P>> = Vec::new();
        for entry in entries.iter() {
            for address in self.addresses(entry) {
                let identity = identity(&entry.target, &address);
                let known = before.members.iter().find(|member| member.endpoint.identity == identity);
                let endpoint = known.map_or_else(|| self.endpoint(&entry.target, address, identity), |member| Arc::clone(&member.endpoint));
                members.push(Member { endpoint, weight: entry.weight });
            }
        }
        let is_gone = |member: &&Member<P>| !members.iter().any(|other| Arc::ptr_eq(&other.endpoint, &member.endpoint));
        for member in before.members.iter().filter(is_gone) {
            tracing::info!(app = self.place.as_str(), upstream = &*member.endpoint.label, "the name no longer has this address");
            member.endpoint.pool.close();
        }
        self.set.store(Arc::new(Set { members, turns: Turns::default() }));
        drop(entries);
        self.changed.notify_one();
        self.memory.queue.all();
    }

    fn addresses(&self, entry: &Entry) -> Vec<Address> {
        match &entry.target.host {
            Host::Name(_, port) => {
                let addresses = entry.addresses.iter().flatten().take(MOST_ADDRESSES);
                addresses.map(|ip| Address::Ip(SocketAddr::new(*ip, *port))).collect()
            }
            Host::Ip(_) | Host::Unix(_) => entry.target.address(|path| self.settings.base.join(path)).into_iter().collect(),
        }
    }

    fn endpoint(&self, target: &Target, address: Address, identity: Box<str>) -> Arc<Endpoint<P>> {
        let label = match &target.host {
            Host::Name(..) => format!("{target} ({address})"),
            Host::Ip(_) | Host::Unix(_) => target.to_string(),
        };
        let tls = match (target.scheme, &target.host) {
            (ziggurat_middleware::Scheme::Https, Host::Name(name, _)) => Some(name.clone()),
            (ziggurat_middleware::Scheme::Https, Host::Ip(address)) => Some(address.ip().to_string().into()),
            _ => None,
        };
        // An authority of a URL is visible ASCII.
        let authority = HeaderValue::try_from(target.authority()).unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        let pool = Pool::new(Arc::clone(&self.protocol), address, tls, self.settings.times);
        let state = self.memory.state(&identity);
        Arc::new(Endpoint { target: target.clone(), authority, label: label.into(), identity, pool, state })
    }

    /// The names among the servers.
    pub(super) fn names(&self) -> Vec<Name> {
        let entries = self.lock_entries();
        let named = entries.iter().enumerate().filter_map(|(at, entry)| match &entry.target.host {
            Host::Name(name, port) => Some(Name { at, name: name.clone(), port: *port }),
            Host::Ip(_) | Host::Unix(_) => None,
        });
        named.collect()
    }

    /// Waits until every name was looked up once, while there is no endpoint at all; no longer than a connection may take.
    pub(super) async fn resolved(&self) {
        let mut unresolved = self.unresolved.subscribe();
        if *unresolved.borrow() > 0 && self.set.load().members.is_empty() {
            let is_there = unresolved.wait_for(|left| *left == 0 || !self.set.load().members.is_empty());
            // Too late, or the names are never looked up: there are no endpoints, as the answer will say.
            let _ = timeout(self.settings.times.connect, is_there).await;
        }
    }

    fn take_addresses(&self, at: usize, name: &str, found: std::io::Result<Vec<IpAddr>>) {
        let mut entries = self.lock_entries();
        let Some(entry) = entries.get_mut(at) else { return };
        let is_first = entry.addresses.is_none();
        let is_changed = match found {
            Ok(found) if !found.is_empty() => {
                let found: BTreeSet<IpAddr> = found.into_iter().collect();
                let is_changed = entry.addresses.as_ref() != Some(&found);
                entry.addresses = Some(found);
                is_changed
            }
            other => {
                let cause = other.err().map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
                tracing::warn!(
                    app = self.place.as_str(),
                    name,
                    "the name cannot be looked up, and the addresses known before stay: {cause}"
                );
                entry.addresses.get_or_insert_default();
                false
            }
        };
        drop(entries);
        if is_changed {
            self.rebuild();
        }
        if is_first {
            self.unresolved.send_modify(|left| *left -= 1);
        }
    }
}

/// A name among the servers of the file.
pub(super) struct Name {
    at: usize,
    name: Box<str>,
    port: u16,
}

/// Looks a name up again and again. One look-up is under way at a time, for the system's cannot be cancelled.
pub(super) async fn watch<P: Protocol>(upstream: Arc<Upstream<P>>, Name { at, name, port }: Name) {
    loop {
        let found = tokio::net::lookup_host((&*name, port)).await.map(|found| found.map(|address| address.ip()).collect());
        let looked_up = Instant::now();
        upstream.take_addresses(at, &name, found);
        // The names of one upstream, and of all of them, are not looked up at the same moment.
        let pause = upstream.settings.resolve.mul_f64(0.9 + 0.2 * fastrand::f64());
        let _ = timeout(pause, upstream.nudge.notified()).await;
        sleep(PAUSE.saturating_sub(looked_up.elapsed())).await;
    }
}
