//! What a handshake would come to, by the files of the certificates alone: for explanations. Private keys are not read.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use ziggurat_middleware::{ClientCertificate, RemoteUser};

use super::access::FileAccess;
use super::certificate::Certificate;
use super::files;
use super::options::TlsOptions;
use super::table::CertificateTable;

/// The outcome of a handshake.
pub(crate) struct Handshake {
    /// The host that the client has asked for.
    pub(crate) name: Option<String>,
    table: CertificateTable,
    certificate: Option<Arc<Certificate>>,
    /// The certificate that the client shows.
    pub(crate) client: Option<ClientCertificate>,
    /// The user that it names.
    pub(crate) user: Option<RemoteUser>,
    /// What is decided, and why.
    pub(crate) notes: Vec<String>,
}

impl Handshake {
    /// That of a client that asks for the host `name`, and would show this certificate.
    pub(crate) fn survey(options: &TlsOptions, base: &Path, name: Option<String>, client: Option<ClientCertificate>) -> Self {
        let (table, mut notes) = read(options, base);
        let is_of_authority = |name: &str| options.acme().is_some_and(|acme| acme.names().any(|own| own == name));
        let has_name = |certificate: &Certificate, name: &str| certificate.names.iter().any(|own| own == name);
        // Whatever signatures the client can verify.
        let chosen = table.select(name.as_deref(), &[]).cloned();
        let certificate = match name.as_deref().filter(|name| is_of_authority(name)) {
            Some(name) if !chosen.as_ref().is_some_and(|chosen| has_name(chosen, name)) => {
                notes.push(format!("the client asks for `{name}` and gets the certificate of `acme`, as soon as there is one"));
                None
            }
            _ => {
                notes.extend(choice(chosen.as_deref(), name.as_deref()));
                chosen
            }
        };
        let asked = options.client_of(certificate.as_ref().map_or(0, |certificate| certificate.policy()));
        let user = asked.zip(client.as_ref()).and_then(|(asked, client)| asked.user_of(client));
        notes.extend(match (asked, &client) {
            (None, Some(_)) => Some("no certificate is asked for, so the client shows none".to_owned()),
            (Some(asked), None) if asked.required => {
                Some("a client has to show a certificate: without one, the handshake fails".to_owned())
            }
            (Some(asked), Some(_)) => asked.user.map(|field| match &user {
                Some(user) => format!("the client's certificate is for the user `{}`, by its `{field}`", user.user),
                None => format!("the client's certificate names no user: it has no `{field}`"),
            }),
            _ => None,
        });
        Self { client: client.filter(|_| asked.is_some()), name, table, certificate, user, notes }
    }

    /// Whether a request for this host does not belong on the connection.
    pub(crate) fn is_misdirected(&self, authority: &str) -> bool {
        let policy_of = |host: &str| self.table.policy_of(host);
        self.certificate.as_ref().is_some_and(|certificate| certificate.misdirects(authority, self.name.as_deref(), policy_of))
    }
}

/// The certificates that can be read, and what is wrong with others.
fn read(options: &TlsOptions, base: &Path) -> (CertificateTable, Vec<String>) {
    let access = FileAccess::default();
    let mut problems = Vec::new();
    let pairs = files::pairs(options, base, &access).unwrap_or_else(|finding| {
        problems.push(finding.message);
        Vec::new()
    });
    let certificates =
        pairs.iter().filter_map(|pair| pair.read_without_key(&access).map_err(|finding| problems.push(finding.message)).ok());
    let table = CertificateTable::new(certificates.collect());
    (table, problems)
}

/// The certificate that a client gets.
fn choice(chosen: Option<&Certificate>, name: Option<&str>) -> Vec<String> {
    let Some(chosen) = chosen else { return vec!["no certificate can be read: without one, the handshake is refused".to_owned()] };
    let (source, named) = (&chosen.source, chosen.named());
    let mut notes = vec![match name {
        Some(name) if chosen.covers(name) => format!("the client asks for `{name}` and gets the certificate in `{source}`, for {named}"),
        Some(name) => format!("no certificate is for `{name}`: the client gets the first one, in `{source}`, for {named}, and refuses it"),
        None => format!("the client asks for no name and gets the first certificate, in `{source}`, for {named}"),
    }];
    if chosen.is_expired(SystemTime::now()) {
        notes.push("it has expired: clients refuse it".to_owned());
    }
    notes
}
