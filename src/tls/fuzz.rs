//! Certificates, keys and revocation lists as nobody should write them, for the fuzzer.

use std::path::Path;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;
use super::options::UserField;
use super::self_signed::{SelfSigned, self_signed};
use super::{peer, pem};

/// A good certificate, whose octets are changed.
pub struct FuzzCertificates(SelfSigned);

impl FuzzCertificates {
    /// Makes the good certificate. Panics if it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let names = ["a.test", "*.b.test", "192.0.2.7"].map(str::to_owned);
        Self(self_signed(&names).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Reads files in PEM and the certificate of a client. The first octet says whether the others are one of them, or say which octets of the good one are changed.
    /// Panics if something is read that could forge a line.
    pub fn read(&self, octets: &[u8]) {
        let Some((kind, octets)) = octets.split_first() else { return };
        let Self(good) = self;
        match kind % 4 {
            0 => files(octets, octets),
            1 => certificate(octets),
            2 => files(&changed(good.cert.as_bytes(), octets), &changed(good.key.as_bytes(), octets)),
            _ => {
                let file = Path::new("good");
                for der in pem::parse_certificates(file, good.cert.as_bytes()).unwrap_or_default() {
                    certificate(&changed(&der, octets));
                }
            }
        }
    }
}

impl Default for FuzzCertificates {
    fn default() -> Self {
        Self::new()
    }
}

/// Each three octets are a place, and what stands there instead.
fn changed(good: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut octets = good.to_vec();
    for change in changes.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % octets.len();
        octets[place] = change[2];
    }
    octets
}

fn files(cert: &[u8], key: &[u8]) {
    let file = Path::new("file");
    let _ = pem::parse_revocation_lists(file, cert);
    let (chain, key) = (pem::parse_certificates(file, cert), pem::parse_private_key(file, key));
    if let (Ok(chain), Ok(key)) = (chain, key) {
        let _ = Certificate::new(chain, key, &aws_lc_rs::default_provider(), "file");
    }
}

fn certificate(der: &[u8]) {
    let Some(read) = peer::client_certificate(&CertificateDer::from(der), true) else { return };
    let users = [UserField::Cn, UserField::Email, UserField::Dns, UserField::Uri, UserField::Subject].map(|field| peer::user(&read, field));
    let texts = [&read.emails, &read.hosts, &read.uris].into_iter().flatten().map(String::as_str);
    for text in texts.chain(users.into_iter().flatten()).chain([read.subject.as_str(), read.issuer.as_str()]) {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
