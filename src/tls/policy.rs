//! Which clients a listener accepts, and what it speaks with them.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use x509_parser::prelude::{CertificateRevocationList, FromDer};
use ziggurat_middleware::{Finding, Result};

use super::certificate::time;
use super::client_policy::PolicySite;
use super::options::{ClientOptions, ExpiredCrl, MinVersion};
use super::pem;
use super::tickets::{ClientIdentity, PolicyIdentity};

/// A policy that does not change. When the files of authorities or revocation lists change, another one replaces it, with other ticket keys.
#[derive(Debug)]
pub(super) struct Policy {
    /// Without protocols (ALPN).
    config: ServerConfig,
    /// For HTTP over TCP.
    pub(super) http: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    identity: PolicyIdentity,
    /// When the first revocation list is due to be renewed.
    lists_until: Option<SystemTime>,
    expired_crl: ExpiredCrl,
}

impl Policy {
    /// Reads the files of authorities and revocation lists.
    pub(super) fn read(options: Option<&ClientOptions>, site: &PolicySite) -> Result<Self> {
        let PolicySite { listener, min, protocols, provider, store, tickets, .. } = site;
        let versions: &[&SupportedProtocolVersion] = match min {
            MinVersion::Tls12 => &[&TLS13, &TLS12],
            MinVersion::Tls13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(versions)?;
        let (verifier, client) = match options {
            Some(client) => {
                let (verifier, identity) = verifier(client, site)?;
                (Some(verifier), Some(identity))
            }
            None => (None, None),
        };
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(store) as _);
        let identity = PolicyIdentity { listener: listener.to_owned(), min: *min, client };
        config.ticketer = tickets.of(identity.clone())?;
        // Tickets hold all of a session. A cache beside them would know no policies.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let http = Arc::new(with_protocols(&config, protocols));
        let lists = identity.client.iter().flat_map(|client| &client.lists);
        let lists_until = lists.filter_map(|list| next_update(list)).min();
        let expired_crl = options.map(|client| client.expired_crl).unwrap_or_default();
        Ok(Self { config, http, verifier, identity, lists_until, expired_crl })
    }

    /// Whether it accepts the same clients as another one.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// What is harmless for the server, and probably a mistake.
    pub(super) fn doubts(&self, now: SystemTime) -> Option<Finding> {
        self.lists_until.filter(|until| *until < now)?;
        let effect = match self.expired_crl {
            ExpiredCrl::Refuse => "certificates of clients are refused until there is a newer one",
            ExpiredCrl::Warn => "certificates that were revoked since are accepted",
        };
        Some(Finding::new(format!("a revocation list is past its next update: {effect}")).at("client").at("crl"))
    }

    /// The configuration for other protocols.
    pub(super) fn speaking(&self, protocols: &[&[u8]]) -> ServerConfig {
        with_protocols(&self.config, protocols)
    }

    /// Whether the chain of a session that is resumed is accepted now. rustls verifies it when the session begins, and never again.
    pub(super) fn accepts(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        let Some(verifier) = &self.verifier else { return true };
        match chain {
            Some([end_entity, intermediates @ ..]) => {
                verifier.verify_client_cert(end_entity, intermediates, rustls::pki_types::UnixTime::now()).is_ok()
            }
            _ => !verifier.client_auth_mandatory(),
        }
    }
}

/// When a revocation list is due to be renewed.
fn next_update(list: &[u8]) -> Option<SystemTime> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    Some(time(list.next_update()?.timestamp()))
}

fn with_protocols(config: &ServerConfig, protocols: &[&[u8]]) -> ServerConfig {
    let mut config = config.clone();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config
}

fn verifier(options: &ClientOptions, site: &PolicySite) -> Result<(Arc<dyn ClientCertVerifier>, ClientIdentity)> {
    let PolicySite { base, access, provider, .. } = site;
    let at = |field: &'static str| move |finding: Finding| finding.at("client").at(field);
    let ca = base.join(&options.ca);
    let authorities = access.read(&ca).and_then(|octets| pem::parse_certificates(&ca, &octets)).map_err(at("ca"))?;
    let mut roots = RootCertStore::empty();
    for authority in &authorities {
        let added = roots.add(authority.clone());
        added
            .map_err(|error| Finding::new(format!("`{}` holds a certificate that is no authority: {error}", ca.display())))
            .map_err(at("ca"))?;
    }
    let lists = match &options.crl {
        Some(crl) => {
            let crl = base.join(crl);
            access.read(&crl).and_then(|octets| pem::parse_revocation_lists(&crl, &octets)).map_err(at("crl"))?
        }
        None => Vec::new(),
    };
    let identity = ClientIdentity {
        authorities: authorities.iter().map(|authority| authority.to_vec()).collect(),
        lists: lists.iter().map(|list| list.to_vec()).collect(),
        expired_crl: options.expired_crl,
        required: options.required,
    };
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider)).with_crls(lists);
    if !options.required {
        builder = builder.allow_unauthenticated();
    }
    if options.expired_crl == ExpiredCrl::Refuse {
        builder = builder.enforce_revocation_expiration();
    }
    let verifier =
        builder.build().map_err(|error| Finding::new(format!("the revocation lists cannot be used: {error}"))).map_err(at("crl"))?;
    Ok((verifier, identity))
}
