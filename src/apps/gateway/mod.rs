//! `fastcgi`, `scgi` and `uwsgi`: pass requests on to apps that speak a gateway protocol.

mod options;
mod script;
mod service;

use http::header::TRANSFER_ENCODING;
use ziggurat_middleware::options::OrFalse;
use ziggurat_middleware::{App, Context, Effect, Effects, Explain, Finding, Findings, IntoApp};

pub use self::options::{FastCgi, Scgi, Uwsgi};
use self::options::{GatewayServer, Pool};
pub(crate) use self::options::{Params, check_params};
use self::script::Scripts;
use self::service::{GatewayService, length_required};
use crate::apps::explain_upstream::Servers;
use crate::apps::service::service;
use crate::cgi::script_and_path;
use crate::gateway::back::BackProtocol;
use crate::upstream::gateway::Gateway;
use crate::upstream::{PoolTimeouts, Settings, Target, Upstream};

/// The server with this address, as `to` names it.
pub(crate) fn target(text: &str) -> Option<Target> {
    text.parse().ok().map(|GatewayServer(target)| target)
}

impl App for FastCgi {
    const NAME: &'static str = "fastcgi";
    const SHORTHAND: Option<&'static str> = Some("to");

    fn validate(&self, findings: &mut Findings) {
        check_params(&self.params, "params", findings);
        if self.root.is_none() {
            for (option, is_set) in [("index", self.index.is_some()), ("split", self.split.is_some())] {
                if is_set {
                    let finding = Finding::new(format!("`{option}` has no effect without `root`")).at(option);
                    findings.push(finding.hint("name the folder of the scripts in `root`"));
                }
            }
        }
        if self.split.as_deref().is_some_and(|split| split.is_empty() || split.contains('/')) {
            findings.push(Finding::new("this is not the end of a script's name").at("split").hint("write it as in `\".php\"`"));
        }
        if self.index.as_deref().is_some_and(|index| index.is_empty() || index.contains('/')) {
            findings.push(Finding::new("this is not the name of a script").at("index").hint("write it as in `\"index.php\"`"));
        }
        self.pool().validate(findings);
    }

    fn effects(&self, effects: &mut Effects) {
        effects.by("timeout", Effect::AnswersWithin(self.pool().timeout.0));
        if let Some(root) = &self.root {
            effects.add(Effect::RunsFolder(root.into()));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let pool = self.pool();
        pool.explain(self.scripts(explain.context())?.as_ref(), explain);
        Ok(())
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let (pool, scripts) = (self.pool(), self.scripts(context)?);
        Ok(pool.app(BackProtocol::FastCgi, self.params, scripts, context))
    }
}

impl FastCgi {
    fn scripts(&self, context: &Context) -> Result<Option<Scripts>, Finding> {
        let (index, split) = (self.index.as_deref().unwrap_or("index.php"), self.split.as_deref().unwrap_or(".php"));
        let Some(root) = &self.root else { return Ok(None) };
        // The app has another working folder.
        let root = std::path::absolute(context.resolve(root)).map_err(Finding::from)?;
        Ok(Some(Scripts::new(root, index.to_owned(), split.to_owned())))
    }
}

impl App for Scgi {
    const NAME: &'static str = "scgi";
    const SHORTHAND: Option<&'static str> = Some("to");

    fn validate(&self, findings: &mut Findings) {
        check_params(&self.params, "params", findings);
        self.pool().validate(findings);
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        self.pool().explain(None, explain);
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.by("timeout", Effect::AnswersWithin(self.pool().timeout.0));
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        Ok(self.pool().app(BackProtocol::Scgi, self.params, None, context))
    }
}

impl App for Uwsgi {
    const NAME: &'static str = "uwsgi";
    const SHORTHAND: Option<&'static str> = Some("to");

    fn validate(&self, findings: &mut Findings) {
        check_params(&self.params, "params", findings);
        self.pool().validate(findings);
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        self.pool().explain(None, explain);
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.by("timeout", Effect::AnswersWithin(self.pool().timeout.0));
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let protocol = BackProtocol::Uwsgi { modifier1: self.modifier1, modifier2: self.modifier2 };
        Ok(self.pool().app(protocol, self.params, None, context))
    }
}

impl Pool {
    fn explain(&self, scripts: Option<&Scripts>, explain: &mut Explain<'_>) {
        if explain.request().headers().contains_key(TRANSFER_ENCODING) {
            explain.refuse(length_required());
            return;
        }
        match scripts.map(|scripts| scripts.of_path(explain.request().uri().path())) {
            Some(Err(problem)) => return explain.refuse(problem),
            Some(Ok(script)) => explain.note(format!("the script is `{}`, PATH_INFO is `{}`", script.file.display(), script.path_info)),
            None => explain.note(script_and_path(explain.request())),
        }
        Servers { to: &self.to.0, balance: &self.balance, limit: self.limit, queue: self.queue, timeout: self.timeout }.tell(explain);
    }

    /// The app over a pool of connections.
    fn app(self, protocol: BackProtocol, params: options::Params, scripts: Option<Scripts>, context: &Context) -> impl IntoApp + use<> {
        let settings = Settings {
            base: context.resolve(""),
            balance: self.balance,
            sticky: None,
            timeouts: PoolTimeouts { connect: self.connect.0, wait: self.queue.wait() },
            head: self.timeout.0,
            idle: self.idle.0,
            limit: self.limit,
            queue: self.queue,
            retry: self.retry.0,
            health: None,
            host: None,
            eject: self.eject.0,
            resolve: self.resolve.0,
        };
        let targets = self.to.0.into_iter().map(|server| (server.0, 1));
        let protocol = Gateway { protocol, place: context.place().clone() };
        let upstream = Upstream::start(context, targets, settings, protocol);
        let gateway = GatewayService::new(upstream, params, scripts, context.place().clone());
        service(gateway, GatewayService::serve)
    }

    fn validate(&self, findings: &mut Findings) {
        if self.to.0.is_empty() {
            findings.push(Finding::new("`to` names no server").at("to").hint("name one, as in `\"127.0.0.1:9000\"`"));
        }
        for (at, server) in self.to.0.iter().enumerate() {
            if self.to.0[..at].contains(server) {
                findings.push(Finding::new(format!("`{}` is named twice", server.0)).at("to").at(at).hint("remove one of them"));
            }
        }
        if self.limit == 0 {
            findings.push(Finding::new("a `limit` of 0 lets no request through").at("limit").hint("write 1 or more"));
        }
        let times = [("connect", self.connect), ("timeout", self.timeout), ("idle", self.idle), ("resolve", self.resolve)];
        for (option, _) in times.into_iter().filter(|(_, time)| time.0.is_zero()) {
            findings.push(Finding::new(format!("`{option}` must be longer than 0")).at(option));
        }
        self.queue.validate(findings);
        if let OrFalse(Some(retry)) = &self.retry {
            retry.validate(findings);
        }
        if let OrFalse(Some(eject)) = &self.eject {
            eject.validate(findings);
        }
    }
}
