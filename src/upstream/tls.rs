//! TLS to upstreams: trusted authorities and the client certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::{Finding, Findings, Place};

use crate::tls::pem;

/// TLS to upstreams with an `https://` URL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsOptions {
    /// A PEM file with the certificates of the authorities to trust. By default the authorities of the system are trusted.
    ca: Option<PathBuf>,
    /// A PEM file with the client certificate to show, followed by its chain.
    cert: Option<PathBuf>,
    /// The PEM file with the private key of `cert`.
    key: Option<PathBuf>,
    /// The name that the certificate must be valid for, and that is sent as server name (SNI). By default the host of the URL.
    name: Option<String>,
    /// Whether the server's certificate is verified. With `false`, anybody on the network path can read and change all traffic. The log warns at every start.
    verify: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { ca: None, cert: None, key: None, name: None, verify: true }
    }
}

/// What connections to `https` upstreams are opened with.
#[derive(Clone)]
pub(crate) struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl TlsClient {
    /// The same, with other protocols to offer (ALPN).
    pub(super) fn offering(&self, alpn: &[&[u8]]) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Self { config: Arc::new(config), name: self.name.clone() }
    }

    /// The client's side of a new connection to this host.
    ///
    /// # Errors
    ///
    /// If the host cannot be the name of a server.
    pub(crate) fn session(&self, host: &str) -> Result<ClientConnection, String> {
        let name = self.name(host).map_err(|_| format!("`{host}` is not the name of a server"))?;
        ClientConnection::new(Arc::clone(&self.config), name).map_err(|error| error.to_string())
    }

    /// The server name for a host.
    pub(super) fn name(&self, host: &str) -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => ServerName::try_from(host.to_owned()),
        }
    }
}

impl TlsOptions {
    /// Verifies servers by the authorities of this PEM file.
    pub(super) fn trusting(ca: PathBuf) -> Self {
        Self { ca: Some(ca), ..Self::default() }
    }

    /// Verifies servers by the authorities of this PEM file, or those of the system, or not at all.
    pub(crate) fn of_client(ca: Option<PathBuf>, verify: bool) -> Self {
        Self { ca, verify, ..Self::default() }
    }

    pub(crate) fn validate(&self, findings: &mut Findings) {
        let mut find = |field: &str, message: &str, hint: &str| findings.push(Finding::new(message).at("tls").at(field).hint(hint));
        match (&self.cert, &self.key) {
            (Some(_), None) => find("cert", "a client certificate needs its private key", "add `key`"),
            (None, Some(_)) => find("key", "a private key needs its certificate", "add `cert`"),
            _ => {}
        }
        if !self.verify && self.ca.is_some() {
            find("ca", "`ca` has no effect where nothing is verified", "remove it, or remove `verify`");
        }
        if let Some(name) = &self.name
            && ServerName::try_from(name.as_str()).is_err()
        {
            find("name", &format!("`{name}` is not the name of a server"), "write a host name without port, as in `api.internal`");
        }
    }

    /// Reads the files. `resolve` makes their paths absolute.
    pub(crate) fn client(&self, place: &Place, resolve: impl Fn(&Path) -> PathBuf, alpn: &[&[u8]]) -> Result<TlsClient, Finding> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = if self.verify {
            let roots = match &self.ca {
                Some(file) => pem::authorities(&resolve(file)).map_err(|finding| finding.at("tls").at("ca"))?,
                None => system_authorities()?,
            };
            let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build()?;
            builder.with_webpki_verifier(verifier)
        } else {
            tracing::warn!(app = place.as_str(), "certificates of upstreams are not verified: `tls.verify` is false");
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        };
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = pem::certificates(&resolve(cert)).map_err(|finding| finding.at("tls").at("cert"))?;
                let key = pem::private_key(&resolve(key)).map_err(|finding| finding.at("tls").at("key"))?;
                let misfit = |error| Finding::new(format!("the certificate and its key cannot be used: {error}")).at("tls").at("key");
                builder.with_client_auth_cert(chain, key).map_err(misfit)?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = self.name.clone().map(ServerName::try_from).transpose()?;
        Ok(TlsClient { config: Arc::new(config), name })
    }
}

fn system_authorities() -> Result<RootCertStore, Finding> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems ship authorities with certificates that rustls cannot parse. They are skipped.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let finding = Finding::new("no certificate authorities are installed on this system").at("tls");
        return Err(finding.hint("install `ca-certificates`, or name a file with `ca`"));
    }
    Ok(roots)
}

/// Accepts any certificate, but verifies that the server has its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
