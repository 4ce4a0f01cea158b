//! Validation of the options of `proxy`.

use ziggurat_middleware::{Finding, Findings};

use super::options::{Proxy, Version};

/// The largest weight, so that sums of weights stay small.
const HEAVIEST: u32 = 1000;

/// The most servers. A name may have several addresses.
const MOST_SERVERS: usize = 1000;

impl Proxy {
    pub(super) fn check(&self, findings: &mut Findings) {
        self.check_servers(findings);
        self.check_times(findings);
        if self.limit == 0 {
            findings
                .push(Finding::new("a `limit` of 0 lets no request through").at("limit").hint("write 1 or more; usual are some hundred"));
        }
        match (&self.tls, self.to.0.iter().any(super::options::Server::is_encrypted)) {
            (Some(tls), true) => tls.validate(findings),
            (Some(_), false) => {
                let finding = Finding::new("`tls` has no effect: no server has an `https` URL").at("tls");
                findings.push(finding.hint("write `https://` in `to`, or remove `tls`"));
            }
            (None, _) => {}
        }
        if self.proxy_protocol.is_some() && self.http == Version::Http2 {
            let finding = Finding::new("`proxy_protocol` cannot be combined with HTTP/2, whose connections are shared by clients")
                .at("proxy_protocol");
            findings.push(finding.hint("leave `http` out, or write `\"1.1\"`"));
        }
        self.queue.validate(findings);
        if let Some(sticky) = &self.sticky {
            sticky.validate(findings);
        }
        if let Some(health) = &self.health {
            health.validate(findings);
        }
        if let Some(retry) = &self.retry.0 {
            retry.validate(findings);
        }
        if let Some(eject) = &self.eject.0 {
            eject.validate(findings);
        }
    }

    fn check_servers(&self, findings: &mut Findings) {
        let servers = &self.to.0;
        if servers.is_empty() || servers.len() > MOST_SERVERS {
            findings.push(Finding::new(format!("`to` names {} servers", servers.len())).at("to").hint(format!("name 1 to {MOST_SERVERS}")));
            return;
        }
        for (at, server) in servers.iter().enumerate() {
            if server.weight > HEAVIEST {
                let finding = Finding::new(format!("{} is not a weight", server.weight)).at("to").at(at).at("weight");
                findings.push(finding.hint(format!("between 0 and {HEAVIEST}; weights are compared with each other")));
            }
            if servers[..at].iter().any(|other| other.at == server.at) {
                let finding = Finding::new(format!("`{}` is named twice", server.at)).at("to").at(at);
                findings.push(finding.hint("give it a `weight` of 2 instead"));
            }
        }
        if servers.iter().all(|server| server.weight == 0) {
            let finding = Finding::new("no server has a weight above 0, so none gets a request").at("to");
            findings.push(finding.hint("give one a `weight` of 1"));
        }
        if self.sticky.is_none() && servers.iter().any(|server| server.weight == 0) && servers.iter().any(|server| server.weight > 0) {
            let at = servers.iter().position(|server| server.weight == 0).unwrap_or_default();
            let finding =
                Finding::new("a server with weight 0 gets only requests whose sticky cookie names it").at("to").at(at).at("weight");
            findings.push(finding.hint("add `sticky`, or remove the server"));
        }
    }

    fn check_times(&self, findings: &mut Findings) {
        let times = [("connect", self.connect), ("timeout", self.timeout), ("idle", self.idle), ("resolve", self.resolve)];
        for (option, _) in times.into_iter().filter(|(_, time)| time.0.is_zero()) {
            findings.push(Finding::new(format!("`{option}` must be longer than 0")).at(option));
        }
    }
}
