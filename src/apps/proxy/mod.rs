//! `proxy`: passes requests on to other servers over HTTP.

mod forward;
mod head;
mod options;
mod service;
mod upgrade;
mod validate;

use std::sync::Arc;

use ziggurat_middleware::{App, Context, Finding, Findings, IntoApp};

use self::head::HeadPolicy;
pub use self::options::Proxy;
use self::service::ProxyService;
use self::upgrade::TunnelRules;
use crate::upstream::http::Http;
use crate::upstream::{PoolTimeouts, Settings, Upstream, UpstreamState};

impl App for Proxy {
    const NAME: &'static str = "proxy";
    const SHORTHAND: Option<&'static str> = Some("to");

    fn validate(&self, findings: &mut Findings) {
        self.check(findings);
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let is_encrypted = self.to.0.iter().any(options::Server::is_encrypted);
        let version = self.http.into();
        let tls = if is_encrypted {
            Some(self.tls.unwrap_or_default().client(context.place(), |path| context.resolve(path), self.http.alpn())?)
        } else {
            None
        };
        let settings = Settings {
            base: context.resolve(""),
            balance: self.balance,
            sticky: self.sticky,
            timeouts: PoolTimeouts { connect: self.connect.0, wait: self.queue.wait() },
            head: self.timeout.0,
            idle: self.idle.0,
            limit: self.limit,
            queue: self.queue,
            retry: self.retry.0,
            health: self.health,
            host: self.host.fixed().cloned(),
            eject: self.eject.0,
            resolve: self.resolve.0,
        };
        let idle = settings.idle;
        let targets = self.to.0.into_iter().map(options::Server::into_target);
        let memory = context.keep(UpstreamState::default);
        let upstream =
            Upstream::new(context.place(), targets, settings, Http { version, tls, proxy_protocol: self.proxy_protocol }, memory);
        context.spawn(Arc::clone(&upstream).run());
        let (status, metrics) = (Arc::downgrade(&upstream), Arc::downgrade(&upstream));
        context.on_status(move || status.upgrade().map(|upstream| upstream.status()).unwrap_or_default());
        context.on_scrape(move |all| {
            if let Some(upstream) = metrics.upgrade() {
                upstream.scrape(all);
            }
        });
        let policy = HeadPolicy { host: self.host, forward: self.forward };
        Ok(ProxyService::new(upstream, policy, TunnelRules::new(idle, context), context.place().clone()))
    }
}
