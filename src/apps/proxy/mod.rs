//! `proxy`: passes requests on to other servers over HTTP.

mod forward;
mod head;
mod options;
mod service;
mod upgrade;
mod validate;

use ziggurat_middleware::{App, Context, Effect, Effects, Explain, Finding, Findings, IntoApp};

use self::head::{HeadPolicy, in_a_loop};
pub use self::options::Proxy;
use self::service::ProxyService;
use self::upgrade::TunnelRules;
use crate::apps::explain_upstream::Servers;
use crate::apps::service::service;
use crate::upstream::http::Http;
use crate::upstream::{PoolTimeouts, Settings, Upstream};

impl App for Proxy {
    const NAME: &'static str = "proxy";
    const SHORTHAND: Option<&'static str> = Some("to");

    fn validate(&self, findings: &mut Findings) {
        self.check(findings);
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        if let Err(problem) = in_a_loop(explain.request().headers()) {
            explain.refuse(problem);
            return Ok(());
        }
        let Self { to, balance, limit, queue, timeout, .. } = &self;
        Servers { to: &to.0, balance, limit: *limit, queue: *queue, timeout: *timeout }.tell(explain);
        if let Some(sticky) = &self.sticky {
            explain.note(sticky.in_words());
        }
        explain.note(match &self.host {
            options::HostPolicy::Keep => "the server gets the `host` of the request".to_owned(),
            options::HostPolicy::Upstream => "the server gets its own name as `host`".to_owned(),
            options::HostPolicy::Fixed(host) => format!("the server gets `{}` as `host`", String::from_utf8_lossy(host.as_bytes())),
        });
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.by("timeout", Effect::AnswersWithin(self.timeout.0));
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
