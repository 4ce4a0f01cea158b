//! A certificate with its key, ready to serve, and what it says of itself.

use std::sync::Arc;

use instant_acme::CertificateIdentifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::renewal::Lifetime;
use super::time::Timestamp;

/// A certificate that was parsed and whose key fits.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) lifetime: Lifetime,
    /// In hexadecimal.
    pub(crate) serial: String,
    /// The name of the authority.
    pub(crate) issuer: String,
    /// How the authority knows it in its renewal information (RFC 9773 section 4.1).
    pub(super) id: Option<CertificateIdentifier<'static>>,
}

impl Certificate {
    /// Reads chain and key in PEM. The certificate must be for this name, and the key must be its own.
    pub(super) fn parse(name: &str, chain: &str, key: &str) -> Result<Self, String> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the chain is not PEM: {error}"))?;
        let Some(leaf) = chain.first().cloned() else { return Err("the chain holds no certificate".to_owned()) };
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| format!("the key is not PEM: {error}"))?;
        let server = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
        let covers = ParsedCertificate::try_from(&leaf).and_then(|parsed| rustls::client::verify_server_name(&parsed, &server));
        covers.map_err(|error| format!("the certificate is not for `{name}`: {error}"))?;
        let (_, parsed) = X509Certificate::from_der(&leaf).map_err(|error| format!("the certificate cannot be parsed: {error}"))?;
        let at = |time: i64| Timestamp(u64::try_from(time).unwrap_or(0));
        let validity = parsed.validity();
        let lifetime = Lifetime { not_before: at(validity.not_before.timestamp()), not_after: at(validity.not_after.timestamp()) };
        let serial = parsed.raw_serial().iter().map(|octet| format!("{octet:02x}")).collect();
        let issuer = parsed.issuer().to_string();
        let id = CertificateIdentifier::try_from(&leaf).ok().map(CertificateIdentifier::into_owned);
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let certified = certified.map_err(|error| format!("certificate and key do not fit: {error}"))?;
        Ok(Self { certified: Arc::new(certified), lifetime, serial, issuer, id })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn pair(name: &str) -> (String, String) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_is_accepted_for_its_name_alone() {
        let (chain, key) = pair("a.test");
        let certificate = Certificate::parse("a.test", &chain, &key).unwrap();
        assert!(certificate.lifetime.not_before < certificate.lifetime.not_after);
        assert!(!certificate.serial.is_empty());
        assert!(Certificate::parse("b.test", &chain, &key).unwrap_err().contains("not for `b.test`"));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let ((chain, _), (_, other)) = (pair("a.test"), pair("a.test"));
        assert!(Certificate::parse("a.test", &chain, &other).unwrap_err().contains("do not fit"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(chain: String, key: String) {
            prop_assert!(Certificate::parse("a.test", &chain, &key).is_err());
        }
    }
}
