//! Certificates, private keys and revocation lists in PEM files (RFC 7468), and what is wrong with files that cannot be used.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use ziggurat_middleware::{Finding, system_words};

/// The longest file that is read. A revocation list of a large authority has some MiB.
pub(super) const LONGEST: u64 = 64 << 20;

/// The certificates of a file, in its order: at least one.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Finding> {
    parse_certificates(file, &read(file)?)
}

/// As [`certificates`], of a file that was read.
pub(super) fn parse_certificates(file: &Path, octets: &[u8]) -> Result<Vec<CertificateDer<'static>>, Finding> {
    let sections = sections(file, octets)?;
    let has_key = sections.iter().any(|(kind, _)| is_key(*kind)) || is_encrypted(octets);
    let of_kind = sections.into_iter().filter(|(kind, _)| *kind == SectionKind::Certificate);
    let certificates: Vec<_> = of_kind.map(|(_, der)| CertificateDer::from(der)).collect();
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    let finding = Finding::new(format!("`{}` holds no certificate in PEM", file.display()));
    Err(finding.hint(if has_key {
        "it holds a private key: name the files the other way round"
    } else if has(octets, "CERTIFICATE REQUEST-----") {
        "it holds a request for a certificate: an authority makes a certificate of it"
    } else {
        other_format(octets).unwrap_or(match octets {
            [DER, ..] => "it seems to be DER: convert it with `openssl x509 -inform der -in FILE -out FILE.pem`",
            _ => "a certificate begins with `-----BEGIN CERTIFICATE-----`",
        })
    }))
}

/// The first octet of DER: a sequence.
const DER: u8 = 0x30;

/// What to do with a file of another format, whatever it is to hold.
fn other_format(octets: &[u8]) -> Option<&'static str> {
    // The version of PKCS #12 (RFC 7292 section 4) behind the length of the whole.
    let is_pkcs12 = octets.first() == Some(&DER) && octets.get(..8).is_some_and(|head| head.windows(3).any(|part| part == [2, 1, 3]));
    if is_pkcs12 {
        return Some(
            "it seems to be PKCS #12: take it apart with `openssl pkcs12 -in FILE -nokeys -out FILE.pem` and `openssl pkcs12 -in FILE -nocerts -nodes -out FILE.key`",
        );
    }
    let marks: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    marks.iter().any(|mark| octets.starts_with(mark)).then_some("it begins with a byte order mark: save it as plain ASCII text")
}

fn has(octets: &[u8], text: &str) -> bool {
    memchr::memmem::find(octets, text.as_bytes()).is_some()
}

/// The first private key of a file.
pub(crate) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Finding> {
    parse_private_key(file, &read(file)?)
}

/// As [`private_key`], of a file that was read.
pub(super) fn parse_private_key(file: &Path, octets: &[u8]) -> Result<PrivateKeyDer<'static>, Finding> {
    // The headers of older encrypted keys are not base64.
    let is_encrypted = is_encrypted(octets);
    let sections = if is_encrypted { Vec::new() } else { sections(file, octets)? };
    let has_certificate = sections.iter().any(|(kind, _)| *kind == SectionKind::Certificate);
    let key = sections.into_iter().find_map(|(kind, der)| match kind {
        SectionKind::PrivateKey => Some(PrivatePkcs8KeyDer::from(der).into()),
        SectionKind::RsaPrivateKey => Some(PrivatePkcs1KeyDer::from(der).into()),
        SectionKind::EcPrivateKey => Some(PrivateSec1KeyDer::from(der).into()),
        _ => None,
    });
    if let Some(key) = key {
        return Ok(key);
    }
    let name = file.display();
    Err(if is_encrypted {
        Finding::new(format!("the private key in `{name}` is encrypted"))
            .hint("a server cannot ask for a passphrase: write the key without one, with `openssl pkey -in FILE -out FILE.key`, for its user only")
    } else if has_certificate {
        Finding::new(format!("`{name}` holds no private key in PEM")).hint("it holds a certificate: name the files the other way round")
    } else {
        Finding::new(format!("`{name}` holds no private key in PEM")).hint(other_format(octets).unwrap_or(match octets {
            [DER, ..] => "it seems to be DER: convert it with `openssl pkey -inform der -in FILE -out FILE.key`",
            _ => "a private key begins with `-----BEGIN PRIVATE KEY-----`",
        }))
    })
}

/// The authorities of a file.
pub(crate) fn authorities(file: &Path) -> Result<RootCertStore, Finding> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| cannot_read(file, error))?;
    }
    Ok(roots)
}

/// The revocation lists of a file that was read: at least one.
pub(super) fn parse_revocation_lists(file: &Path, octets: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, Finding> {
    let of_kind = sections(file, octets)?.into_iter().filter(|(kind, _)| *kind == SectionKind::Crl);
    let lists: Vec<_> = of_kind.map(|(_, der)| CertificateRevocationListDer::from(der)).collect();
    if lists.is_empty() {
        let finding = Finding::new(format!("`{}` holds no revocation list in PEM", file.display()));
        return Err(finding.hint("a revocation list begins with `-----BEGIN X509 CRL-----`"));
    }
    Ok(lists)
}

/// The octets of a file that is not too long.
fn read(file: &Path) -> Result<Vec<u8>, Finding> {
    octets(file).map_err(|error| unread(file, &error))
}

/// As `read`, with the error of the system.
pub(super) fn octets(file: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(file)?.take(LONGEST + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > LONGEST {
        return Err(io::Error::other("it is longer than 64 MiB"));
    }
    Ok(octets)
}

/// The finding about a file that cannot be read.
pub(super) fn unread(file: &Path, error: &io::Error) -> Finding {
    cannot_read(file, system_words(error))
}

fn sections(file: &Path, octets: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, Finding> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(octets).collect::<Result<_, _>>();
    sections.map_err(|error| match error {
        pem::Error::MissingSectionEnd { .. } => cannot_read(file, "it is cut off: a section has no `-----END ...-----`"),
        pem::Error::Base64Decode(_) => cannot_read(file, "a section is not base64"),
        error => cannot_read(file, error),
    })
}

const fn is_key(kind: SectionKind) -> bool {
    matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
}

/// Whether a key needs a passphrase: PKCS #8 has a label of its own, older forms have a header.
fn is_encrypted(octets: &[u8]) -> bool {
    ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"].iter().any(|mark| has(octets, mark))
}

fn cannot_read(file: &Path, error: impl std::fmt::Display) -> Finding {
    Finding::new(format!("cannot read `{}`: {error}", file.display()))
}
