//! The endpoints of an upstream, and the look-up of names.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::{Instant, sleep, timeout};

use super::Upstream;
use super::balance::RoundRobin;
use super::endpoint::{Endpoint, identity};
use super::pool::Pool;
use super::protocol::Protocol;
use super::target::{Address, Host, Target};

/// A snapshot of the endpoints.
pub(super) struct EndpointSet<P: Protocol> {
    pub(super) members: Vec<SetMember<P>>,
    pub(super) turns: RoundRobin,
}

/// An endpoint and its weight.
pub(crate) struct SetMember<P: Protocol> {
    pub(super) endpoint: Arc<Endpoint<P>>,
    /// With 0 it gets only requests whose sticky cookie names it.
    pub(super) weight: u32,
}

impl<P: Protocol> Default for EndpointSet<P> {
    fn default() -> Self {
        Self { members: Vec::new(), turns: RoundRobin::default() }
    }
}

/// A server of the file with its known addresses.
pub(super) struct ServerEntry {
    pub(super) target: Target,
    pub(super) weight: u32,
    /// `None` before the first look-up of its name.
    addresses: Option<BTreeSet<IpAddr>>,
}

impl ServerEntry {
    pub(super) const fn new(target: Target, weight: u32) -> Self {
        Self { target, weight, addresses: None }
    }
}

/// The shortest time between two look-ups of a name.
const PAUSE: Duration = Duration::from_secs(1);

/// The most addresses of one name.
const MOST_ADDRESSES: usize = 64;

impl<P: Protocol> Upstream<P> {
    /// Replaces the set by the endpoints of the known addresses. Existing endpoints are kept.
    pub(super) fn rebuild(&self) {
        let entries = self.lock_entries();
        let before = self.set.load_full();
        let mut members: Vec<SetMember<P>> = Vec::new();
        for entry in entries.iter() {
            for address in self.addresses(entry) {
                let identity = identity(&entry.target, &address);
                let known = before.members.iter().find(|member| member.endpoint.identity == identity);
                let endpoint = known.map_or_else(|| self.endpoint(&entry.target, address, identity), |member| Arc::clone(&member.endpoint));
                members.push(SetMember { endpoint, weight: entry.weight });
            }
        }
        let is_gone = |member: &&SetMember<P>| !members.iter().any(|other| Arc::ptr_eq(&other.endpoint, &member.endpoint));
        for member in before.members.iter().filter(is_gone) {
            tracing::info!(app = self.place.as_str(), upstream = &*member.endpoint.label, "removed: the name no longer has this address");
            member.endpoint.pool.close();
        }
        self.set.store(Arc::new(EndpointSet { members, turns: RoundRobin::default() }));
        drop(entries);
        self.changed.notify_one();
        self.state.queue.all();
    }

    fn addresses(&self, entry: &ServerEntry) -> Vec<Address> {
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
        let pool = Pool::new(Arc::clone(&self.protocol), address, tls, self.settings.timeouts);
        let state = self.state.state(&identity);
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

    /// If there is no endpoint yet, waits for the first look-up, no longer than `connect`.
    pub(super) async fn resolved(&self) {
        if *self.unresolved.borrow() > 0 && self.set.load().members.is_empty() {
            let mut unresolved = self.unresolved.subscribe();
            let is_there = unresolved.wait_for(|left| *left == 0 || !self.set.load().members.is_empty());
            // Without a result there are no endpoints, and the request is refused.
            let _ = timeout(self.settings.timeouts.connect, is_there).await;
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
                tracing::warn!(app = self.place.as_str(), name, "the name cannot be resolved, its known addresses are kept: {cause}");
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

/// Looks a name up periodically. Only one look-up is under way at a time: `getaddrinfo` cannot be cancelled.
pub(super) async fn watch<P: Protocol>(upstream: Arc<Upstream<P>>, Name { at, name, port }: Name) {
    loop {
        let found = tokio::net::lookup_host((&*name, port)).await.map(|found| found.map(|address| address.ip()).collect());
        let looked_up = Instant::now();
        upstream.take_addresses(at, &name, found);
        // Spreads the look-ups of many names over time.
        let pause = upstream.settings.resolve.mul_f64(0.9 + 0.2 * fastrand::f64());
        let _ = timeout(pause, upstream.lookup_requested.notified()).await;
        sleep(PAUSE.saturating_sub(looked_up.elapsed())).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    use http::Request;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Notify;
    use ziggurat_middleware::{Body, Place};

    use super::*;
    use crate::upstream::http::{Http, HttpVersion};
    use crate::upstream::{AdmitError, PoolTimeouts, QueueOptions, SendError, Settings, UpstreamRequest, UpstreamState};

    const A: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    /// Answers with `name`; a request for `/slow` when it may.
    fn serve(listener: TcpListener, name: &'static str, may: Arc<Notify>) {
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let may = Arc::clone(&may);
                tokio::spawn(async move {
                    let mut head = vec![0; 4096];
                    while let Ok(read @ 1..) = socket.read(&mut head).await {
                        if head[..read].starts_with(b"GET /slow ") {
                            may.notified().await;
                        }
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}");
                        socket.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
    }

    fn upstream(port: u16) -> Arc<Upstream<Http>> {
        let settings = Settings {
            base: PathBuf::new(),
            balance: crate::upstream::Balance::default(),
            sticky: None,
            timeouts: PoolTimeouts { connect: Duration::from_millis(200), wait: Duration::from_secs(5) },
            head: Duration::from_secs(20),
            idle: Duration::from_secs(20),
            limit: 256,
            queue: QueueOptions::default(),
            retry: None,
            health: None,
            host: None,
            eject: None,
            resolve: Duration::from_secs(10),
        };
        let target: Target = format!("http://app.test:{port}").parse().unwrap();
        let http = Http { version: HttpVersion::Http1, tls: None, proxy_protocol: None };
        Upstream::new(&Place::new("proxy"), [(target, 1)], settings, http, Arc::new(UpstreamState::default()))
    }

    async fn ask(upstream: &Arc<Upstream<Http>>, path: &str) -> Result<String, SendError> {
        let (parts, ()) = Request::get(path).header("host", "app.test").body(()).unwrap().into_parts();
        let head = |_: &Endpoint<Http>, _| Request::from_parts(parts.clone(), ());
        let request = UpstreamRequest { parts: &parts, body: Body::empty(), head: &head, expects_continue: false };
        let body = upstream.send(request).await?.response.into_body().collect().await.unwrap().to_bytes();
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn addresses_change_without_a_failed_request_and_are_kept_where_a_look_up_gives_none() {
        let (one, may) = (TcpListener::bind((A, 0)).await.unwrap(), Arc::new(Notify::new()));
        let port = one.local_addr().unwrap().port();
        let other = TcpListener::bind((B, port)).await.unwrap();
        serve(one, "a", Arc::clone(&may));
        serve(other, "b", Arc::clone(&may));
        let upstream = upstream(port);
        let found = |result: std::io::Result<Vec<Ipv4Addr>>| {
            upstream.take_addresses(0, "app.test", result.map(|ips| ips.into_iter().map(IpAddr::V4).collect()));
        };
        // The first look-up hangs: requests wait no longer than for a connection.
        assert!(matches!(ask(&upstream, "/").await, Err(SendError::Refused(AdmitError::Unresolved))));
        found(Ok(vec![A]));
        assert_eq!(ask(&upstream, "/").await.unwrap(), "a");
        let first = Arc::clone(&upstream.set.load().members[0].endpoint);
        let slow = tokio::spawn({
            let upstream = Arc::clone(&upstream);
            async move { ask(&upstream, "/slow").await }
        });
        while first.state.under_way() == 0 {
            tokio::task::yield_now().await;
        }
        found(Ok(vec![B]));
        assert_eq!(ask(&upstream, "/").await.unwrap(), "b");
        // The look-up fails, and finds nothing.
        found(Err(std::io::Error::other("no answer")));
        found(Ok(Vec::new()));
        assert_eq!(ask(&upstream, "/").await.unwrap(), "b");
        // What was under way at the address that is gone ends there, and its connection closes.
        may.notify_one();
        assert_eq!(slow.await.unwrap().unwrap(), "a");
        assert_eq!(first.pool.connections(), (0, 0));
        // An address that returns has its state.
        found(Ok(vec![A, B]));
        let set = upstream.set.load();
        let again = set.members.iter().find(|member| member.endpoint.identity == first.identity).unwrap();
        assert!(Arc::ptr_eq(&again.endpoint.state, &first.state) && set.members.len() == 2);
        for _ in 0..20 {
            assert!(["a", "b"].contains(&ask(&upstream, "/").await.unwrap().as_str()));
        }
    }
}
