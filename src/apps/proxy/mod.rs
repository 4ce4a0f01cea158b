//! `proxy`: passes requests on to other servers over HTTP.

mod forward;
mod head;
mod options;
mod service;
mod upgrade;
mod validate;

use ziggurat_middleware::{App, Context, Finding, Findings, IntoApp};

use self::head::HeadPolicy;
pub use self::options::Proxy;
use self::service::ProxyService;
use self::upgrade::TunnelRules;
use crate::apps::service::service;
use crate::upstream::http::Http;
use crate::upstream::{PoolTimeouts, Settings, Upstream};

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
        let upstream = Upstream::start(context, targets, settings, Http { version, tls, proxy_protocol: self.proxy_protocol });
        let policy = HeadPolicy { host: self.host, forward: self.forward };
        let proxy = ProxyService::new(upstream, policy, TunnelRules::new(idle, context), context.place().clone());
        Ok(service(proxy, ProxyService::serve))
    }
}
