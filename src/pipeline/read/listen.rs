//! The entries of `listen`.

use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::{Finding, Findings, Peer};

use super::grammar::{Grammar, all};
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{ListenEntry, Typed};
use crate::pipeline::tree::{Node, Span, Value};
use crate::server::{Address, HttpVersions, Listen, Protocol, ProxyProtocolOptions, SocketAccess, SocketMode};
use crate::tls::TlsOptions;

/// Octets in the path of a Unix socket, without the NUL at its end (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// An entry as an object.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryObject {
    at: Listen,
    mode: Option<SocketMode>,
    group: Option<String>,
    tls: Option<TlsOptions>,
    proxy_protocol: Option<ProxyProtocolOptions>,
    http: Option<HttpVersions>,
    #[serde(default)]
    protocol: Protocol,
    trust: Option<OneOrMany<Peer>>,
}

impl Grammar<'_> {
    pub(super) fn listen(&mut self, node: Node) -> Option<Vec<ListenEntry>> {
        match node.value {
            Value::Array(items) if items.is_empty() => {
                self.findings.push(
                    Diagnostic::error(Id::InvalidValue, "the list of addresses is empty", node.span)
                        .label("nothing to listen on")
                        .hint("write an address, or leave `listen` out"),
                );
                None
            }
            Value::Array(items) => all(items.into_iter().map(|item| self.entry(item)).collect()),
            _ => self.entry(node).map(|one| vec![one]),
        }
    }

    fn entry(&mut self, node: Node) -> Option<ListenEntry> {
        let reader = self.reader("`listen`");
        let entry = if node.is_object() {
            let found = self.note(reader.read::<EntryObject>(&node))?;
            let access = SocketAccess { mode: found.mode, group: found.group };
            let mut listen = Listen { access, protocol: found.protocol, ..found.at };
            self.sound("`listen`", &node, |findings| check_trust(&listen, found.trust.as_ref(), findings))?;
            if let Some(trust) = found.trust {
                listen.trust = trust.0.into();
            }
            if let Some(options) = found.proxy_protocol {
                self.sound("`proxy_protocol`", node.nearest(&["proxy_protocol".into()]), |findings| options.validate(findings))?;
                listen.transport.proxy_protocol = Some(options.into());
            }
            if let Some(versions) = found.http {
                self.sound("`listen`", node.nearest(&["http".into()]), |findings| {
                    versions.validate(&listen.address, &listen.transport, found.tls.is_some(), findings);
                    if listen.protocol != Protocol::Http {
                        findings.push(Finding::new("`http` has no effect beside this `protocol`").hint("remove one of them"));
                    }
                })?;
                listen.http = versions;
            }
            let tls = found.tls.map(|value| Typed { value, node: node.nearest(&["tls".into()]).clone() });
            ListenEntry { listen, span: node.nearest(&["at".into()]).span.clone(), tls }
        } else {
            let listen = self.note(reader.read::<Listen>(&node))?;
            ListenEntry { listen, span: node.span, tls: None }
        };
        self.socket_fits(&entry.listen, &entry.span)?;
        if let Some(tls) = &entry.tls {
            self.sound("`tls`", &tls.node, |findings| tls.value.validate(findings))?;
        }
        Some(entry)
    }

    /// Notes what is wrong with options of an entry.
    pub(super) fn sound(&mut self, owner: &'static str, node: &Node, validate: impl FnOnce(&mut Findings)) -> Option<()> {
        let reader = self.reader(owner);
        let mut findings = Findings::default();
        validate(&mut findings);
        let found: Vec<_> = findings.into_iter().map(|finding| reader.locate(Id::InvalidValue, finding, node)).collect();
        let is_sound = found.is_empty();
        self.findings.extend(found);
        is_sound.then_some(())
    }

    fn socket_fits(&mut self, listen: &Listen, span: &Span) -> Option<()> {
        if let Address::Unix(path) = &listen.address
            && self.base.join(path).as_os_str().len() > LONGEST_SOCKET_PATH
        {
            let finding = Diagnostic::error(Id::InvalidValue, "the path of the socket is too long", span.clone());
            let finding = finding.label("with the folder of this file");
            self.findings.push(finding.hint(format!("a Unix socket's path has at most {LONGEST_SOCKET_PATH} octets")));
            return None;
        }
        if listen.access != SocketAccess::default() && !matches!(listen.address, Address::Unix(_)) {
            let finding = Diagnostic::error(Id::InvalidValue, "`mode` and `group` are for Unix sockets", span.clone());
            self.findings.push(finding.hint("write `\"at\": \"unix:run/site.sock\"`, or leave them out"));
            return None;
        }
        Some(())
    }
}

/// Reports front servers that are not trusted, and trust that has no effect.
fn check_trust(listen: &Listen, trust: Option<&OneOrMany<Peer>>, findings: &mut Findings) {
    let is_gateway = listen.protocol != Protocol::Http;
    match trust {
        Some(_) if !is_gateway => {
            let finding = Finding::new("`trust` has no effect: the `protocol` is HTTP").at("trust");
            findings.push(finding.hint("write the networks of HTTP proxies into a `forwarded` layer"));
        }
        Some(OneOrMany(peers)) if is_gateway && peers.is_empty() => {
            let finding = Finding::new("no front server is trusted, so every connection would be closed").at("trust");
            findings.push(finding.hint("name the addresses of the front servers, as in `[\"127.0.0.1\"]`"));
        }
        None if is_gateway && matches!(listen.address, Address::Tcp { .. }) => {
            let finding = Finding::new("no front server is trusted, so every connection would be closed").at("at");
            findings
                .push(finding.hint("add `\"trust\": [\"127.0.0.1\"]` with the addresses of the front servers, or listen on a Unix socket"));
        }
        _ => {}
    }
}
