//! A certificate with its chain and its private key, and what it says.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::prelude::FromDer;

/// A certificate that can be served.
pub struct Certificate {
    /// The chain and the key, for rustls.
    pub key: Arc<CertifiedKey>,
    /// Its host names in lower case, some of them as `*.example.com`.
    pub names: Vec<String>,
    addresses: Vec<IpAddr>,
    /// When it begins to be valid.
    pub not_before: SystemTime,
    /// When it expires.
    pub not_after: SystemTime,
    /// The serial number in hexadecimal figures, with colons.
    pub serial: String,
    /// Who issued it, as a distinguished name.
    pub issuer: String,
    /// The number of the policy about clients that come for it; 0 for that of the listener.
    pub(super) policy: usize,
    /// Where it is from, for people: the path of its file.
    pub source: String,
}

impl Certificate {
    /// Of a chain, the end entity first, and its key.
    ///
    /// # Errors
    ///
    /// If they do not fit, or cannot be understood.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
        source: impl Into<String>,
    ) -> Result<Self, Unusable> {
        if chain.is_empty() {
            return Err(Unusable::Malformed);
        }
        match CertifiedKey::from_der(chain, key, provider) {
            Ok(key) => Self::of(Arc::new(key), source),
            Err(rustls::Error::InconsistentKeys(_)) => Err(Unusable::Misfit),
            Err(error) => Err(Unusable::Refused(error)),
        }
    }

    /// Of a chain alone, to look at. It signs nothing.
    pub(super) fn without_key(chain: Vec<CertificateDer<'static>>, source: impl Into<String>) -> Result<Self, Unusable> {
        let first = chain.first().ok_or(Unusable::Malformed)?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|_| Unusable::Malformed)?;
        let algorithm = if parsed.public_key().algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
            SignatureAlgorithm::RSA
        } else {
            SignatureAlgorithm::ECDSA
        };
        Self::of(Arc::new(CertifiedKey::new(chain, Arc::new(NoKey(algorithm)))), source)
    }

    /// Of a chain and a key that fit.
    pub(super) fn of(key: Arc<CertifiedKey>, source: impl Into<String>) -> Result<Self, Unusable> {
        let first = key.cert.first().ok_or(Unusable::Malformed)?.clone();
        let (_, parsed) = X509Certificate::from_der(&first).map_err(|_| Unusable::Malformed)?;
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        let alternatives = parsed.subject_alternative_name().ok().flatten();
        for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.push(name.trim_end_matches('.').to_ascii_lowercase()),
                GeneralName::IPAddress(octets) => addresses.extend(address(octets)),
                _ => {}
            }
        }
        let validity = parsed.validity();
        Ok(Self {
            key,
            names,
            addresses,
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
            serial: parsed.raw_serial_as_string(),
            issuer: parsed.issuer().to_string(),
            policy: 0,
            source: source.into(),
        })
    }

    /// The number of the policy about clients that come for it; 0 for that of the listener.
    #[must_use]
    pub const fn policy(&self) -> usize {
        self.policy
    }

    /// With another policy than that of the listener.
    pub(super) fn with_policy(self, policy: usize) -> Self {
        Self { policy, ..self }
    }

    /// Whether it is for this host: a name in lower case without a dot at its end, or an address. A `*` stands for one label (RFC 6125 section 6.4.3).
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        self.names.iter().any(|name| match name.strip_prefix('*') {
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && parent.strip_prefix('.') == Some(rest)),
            None => name == host,
        })
    }

    /// Whole days until it expires; negative afterwards.
    #[must_use]
    pub fn days_left(&self, now: SystemTime) -> i64 {
        const DAY: i64 = 24 * 60 * 60;
        (seconds(self.not_after) - seconds(now)).div_euclid(DAY)
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        now > self.not_after
    }

    /// Its names and addresses for people.
    #[must_use]
    pub fn named(&self) -> String {
        let all: Vec<String> = self.names.iter().cloned().chain(self.addresses.iter().map(ToString::to_string)).collect();
        if all.is_empty() { "no name".to_owned() } else { all.join(", ") }
    }

    /// Whether it has neither a name nor an address.
    #[must_use]
    pub fn names_nothing(&self) -> bool {
        self.names.is_empty() && self.addresses.is_empty()
    }

    /// Whether it has an RSA key.
    #[must_use]
    pub fn is_rsa(&self) -> bool {
        self.key.key.algorithm() == SignatureAlgorithm::RSA
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).field("serial", &self.serial).finish_non_exhaustive()
    }
}

/// In the place of a key that is not read, with the kind of its signatures.
#[derive(Debug)]
struct NoKey(SignatureAlgorithm);

impl SigningKey for NoKey {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        None
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0
    }
}

/// Why a chain and a key are no certificate.
#[derive(Debug)]
pub enum Unusable {
    /// The certificate cannot be parsed.
    Malformed,
    /// The key belongs to another certificate.
    Misfit,
    /// rustls refuses them.
    Refused(rustls::Error),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the certificate is malformed"),
            Self::Misfit => f.write_str("the private key is not that of the certificate"),
            Self::Refused(error) => write!(f, "the certificate and its key cannot be used: {error}"),
        }
    }
}

impl std::error::Error for Unusable {}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A time of X.509.
pub(super) fn time(timestamp: i64) -> SystemTime {
    let distance = Duration::from_secs(timestamp.unsigned_abs());
    let time = if timestamp < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}
