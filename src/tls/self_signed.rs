//! Certificates for development, which no authority vouches for.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::ServerName;

/// For how long they are valid. Some clients refuse certificates that are valid for longer than 398 days.
const DAYS: u64 = 397;

/// A certificate and its key, in PEM.
pub(crate) struct SelfSigned {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// Makes a certificate for host names and addresses.
///
/// # Errors
///
/// If one of them cannot be in a certificate.
pub(crate) fn self_signed(names: &[String]) -> Result<SelfSigned, String> {
    for name in names {
        // An address is one too.
        if ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_err() {
            return Err(format!("`{name}` is neither a host name nor an address"));
        }
    }
    make(names).map_err(|error| error.to_string())
}

fn make(names: &[String]) -> Result<SelfSigned, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Ziggurat, for development");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Strict clients want it (RFC 5280 section 4.2.1.1).
    params.use_authority_key_identifier_extension = true;
    let now = SystemTime::now();
    // Clocks differ.
    params.not_before = (now - Duration::from_secs(60 * 60)).into();
    params.not_after = (now + Duration::from_secs(DAYS * 24 * 60 * 60)).into();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let cert = params.self_signed(&key)?;
    Ok(SelfSigned { cert: cert.pem(), key: key.serialize_pem() })
}
