//! The options `tls` of an entry of `listen`.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::{Finding, Findings, Step};

use crate::acme::AcmeOptions;

/// TLS on a listener. The certificate is `cert` with `key`; further ones are in `certificates`, or in a `folder`. A client gets the one of the name that it asks for; a
/// client that asks for none, or for another name, gets the first. Changed files are used without a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ListenTls")]
pub struct TlsOptions {
    /// A PEM file with the certificate, followed by the certificates of its chain. Relative paths start at the folder of the pipeline file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cert: Option<PathBuf>,
    /// The PEM file with the private key of `cert`, without a passphrase. Only the user that starts the server should be able to read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<PathBuf>,
    /// Further certificates, for other names, or of another kind for the same names (RSA beside ECDSA).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) certificates: Vec<CertificatePair>,
    /// A folder with further certificates: `NAME.crt` or `NAME.pem` with `NAME.key` beside it, and folders with `fullchain.pem` and `privkey.pem`, as certbot has
    /// them. Files that come and go are noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) folder: Option<PathBuf>,
    /// Certificates from an authority that speaks ACME, such as Let's Encrypt, beside those of files or instead of them. While a certificate is on its way, clients that ask
    /// for its name get the default certificate; if there is none, their handshakes are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) acme: Option<AcmeOptions>,
    /// The oldest version of TLS that is spoken: `"1.2"`, the default, or `"1.3"`.
    pub(super) min: MinVersion,
    /// Certificates of clients. By default none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<ClientOptions>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificatePair {
    /// A PEM file with the certificate, followed by the certificates of its chain.
    pub(super) cert: PathBuf,
    /// The PEM file with its private key.
    pub(super) key: PathBuf,
    /// Certificates of clients that come for the names of this certificate, instead of what `client` of the listener says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<ClientOptions>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub(super) enum MinVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

/// Which certificates clients must or may show.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ListenClient")]
pub(super) struct ClientOptions {
    /// A PEM file with the certificates of the authorities that certificates of clients must be issued by.
    pub(super) ca: PathBuf,
    /// A PEM file with the revocation lists of these authorities, one of each. Without it, no certificate counts as revoked. A changed file is used without a reload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) crl: Option<PathBuf>,
    /// What a revocation list past its next update means: `"refuse"` (the default) accepts no certificate that it is about, `"warn"` goes on with it. The log warns in
    /// both cases.
    #[serde(default)]
    pub(super) expired_crl: ExpiredCrl,
    /// Whether a client without a certificate is refused. With `false`, it is served, and `match` and apps can tell. A certificate that does not verify is refused in any
    /// case.
    #[serde(default = "yes")]
    pub(super) required: bool,
    /// The field of the certificate that becomes the user, `REMOTE_USER`: `"cn"` (the common name), `"email"`, `"dns"` or `"uri"` (the first alternative name of its
    /// kind), or `"subject"` (the whole name). By default a certificate names no user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<UserField>,
    /// Whether apps get the certificate itself, in PEM, as `SSL_CLIENT_CERT`. It is some KiB for each request.
    #[serde(default)]
    pub(super) export_cert: bool,
}

/// What an expired revocation list means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExpiredCrl {
    /// No certificate that it is about is accepted.
    #[default]
    Refuse,
    /// It counts as if it had not expired.
    Warn,
}

/// A field of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UserField {
    /// The common name of the subject.
    Cn,
    /// The first email address.
    Email,
    /// The first host name.
    Dns,
    /// The first URI.
    Uri,
    /// The subject as a distinguished name (RFC 4514).
    Subject,
}

/// As the file writes it.
impl fmt::Display for UserField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cn => "cn",
            Self::Email => "email",
            Self::Dns => "dns",
            Self::Uri => "uri",
            Self::Subject => "subject",
        })
    }
}

const fn yes() -> bool {
    true
}

impl ClientOptions {
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.ca).chain(&self.crl)
    }
}

impl TlsOptions {
    /// The policies about clients, each with the path to its options: that of the listener, and those of single certificates.
    pub(super) fn clients(&self) -> Vec<(Vec<Step>, Option<&ClientOptions>)> {
        let of_pairs = self.certificates.iter().enumerate().filter(|(_, pair)| pair.client.is_some());
        std::iter::once((Vec::new(), self.client.as_ref()))
            .chain(of_pairs.map(|(number, pair)| (vec!["certificates".into(), number.into()], pair.client.as_ref())))
            .collect()
    }

    /// The policy with this number, if it asks for certificates.
    pub(super) fn client_of(&self, policy: usize) -> Option<&ClientOptions> {
        self.clients().into_iter().nth(policy).and_then(|(_, client)| client)
    }

    /// All files that they name, besides those of ACME and those in the folder.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let pairs = self.certificates.iter().flat_map(|pair| [&pair.cert, &pair.key]);
        let clients = self.clients().into_iter().filter_map(|(_, client)| client).flat_map(ClientOptions::files);
        self.cert.iter().chain(&self.key).chain(pairs).chain(clients)
    }

    /// What certificates are got from an authority.
    pub(crate) const fn acme(&self) -> Option<&AcmeOptions> {
        self.acme.as_ref()
    }

    /// Reports what can be wrong without a look at the files.
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let mut find = |field: Option<&str>, message: &str, hint: &str| {
            let finding = Finding::new(message).hint(hint);
            findings.push(match field {
                Some(field) => finding.at(field),
                None => finding,
            });
        };
        match (&self.cert, &self.key) {
            (Some(_), None) => find(Some("cert"), "a certificate needs its private key", "add `key`"),
            (None, Some(_)) => find(Some("key"), "a private key needs its certificate", "add `cert`"),
            (None, None) if self.certificates.is_empty() && self.folder.is_none() && self.acme.is_none() => {
                find(
                    None,
                    "TLS needs a certificate",
                    "write `\"cert\": \"tls/site.pem\", \"key\": \"tls/site.key\"`; for development, `ziggurat certs --self-signed` makes both",
                );
            }
            _ => {}
        }
        if let Some(acme) = &self.acme {
            acme.validate(findings);
        }
    }
}
