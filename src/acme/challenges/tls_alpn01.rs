//! TLS-ALPN-01: the certificate that answers a challenge (RFC 8737 section 3).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use ziggurat_middleware::BoxError;

/// A self-signed certificate for this name alone that bears the digest of the key authorization, given in base64url.
pub(super) fn certificate(name: &str, digest: &str) -> Result<CertifiedKey, BoxError> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let digest: [u8; 32] = BASE64_URL_SAFE_NO_PAD.decode(digest)?.try_into().map_err(|_| "the digest is not one of SHA-256")?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    // Not `from_der`: it refuses critical extensions that rustls does not know, and this one has to be critical.
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::*;

    use super::*;

    #[test]
    fn the_certificate_is_for_the_name_and_bears_the_digest_in_a_critical_extension() {
        let certified = certificate("a.test", &BASE64_URL_SAFE_NO_PAD.encode([7; 32])).unwrap();
        let (_, parsed) = X509Certificate::from_der(&certified.cert[0]).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names, [GeneralName::DNSName("a.test")]);
        // id-pe-acmeIdentifier
        let extension = parsed.extensions().iter().find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
        assert!(extension.critical);
        // An OCTET STRING of 32 octets.
        assert_eq!(extension.value[..2], [4, 32]);
        assert_eq!(extension.value[2..], [7; 32]);
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for digest in ["", "AAAA", "not base64!"] {
            assert!(certificate("a.test", digest).is_err(), "{digest}");
        }
    }
}
