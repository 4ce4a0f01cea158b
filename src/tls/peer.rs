//! What the certificate of a client says.

use base64::Engine as _;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, Oid};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};
use ziggurat_middleware::{ClientCertificate, RemoteUser};

use super::options::{ClientOptions, UserField};

/// The most alternative names of a kind that are read.
const MOST: usize = 100;

/// Reads a certificate that was verified. Alternative names with control characters could forge a line somewhere, and are left out.
pub(crate) fn client_certificate(der: &CertificateDer<'_>, with_pem: bool) -> Option<ClientCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut read = ClientCertificate {
        subject: name(certificate.subject()),
        common_name: common_name(certificate.subject()),
        issuer: name(certificate.issuer()),
        issuer_common_name: common_name(certificate.issuer()),
        serial: certificate.raw_serial().iter().map(|octet| format!("{octet:02X}")).collect(),
        not_before: date(certificate.validity().not_before),
        not_after: date(certificate.validity().not_after),
        pem: with_pem.then(|| pem(der)),
        ..ClientCertificate::default()
    };
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    for alternative in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
        let (list, name) = match alternative {
            GeneralName::RFC822Name(email) => (&mut read.emails, *email),
            GeneralName::DNSName(host) => (&mut read.hosts, *host),
            GeneralName::URI(uri) => (&mut read.uris, *uri),
            _ => continue,
        };
        if list.len() < MOST && is_plain(name) {
            list.push(name.to_owned());
        }
    }
    Some(read)
}

impl ClientOptions {
    /// The user that the certificate of a client names, if one is asked for.
    pub(super) fn user_of(&self, client: &ClientCertificate) -> Option<RemoteUser> {
        let user = user(client, self.user?)?;
        Some(RemoteUser { user: user.into(), auth_type: "CLIENT_CERT".into() })
    }
}

/// The user that a certificate names. A name with control characters could forge a line somewhere, and names nobody.
pub(super) fn user(certificate: &ClientCertificate, field: UserField) -> Option<&str> {
    let named = match field {
        UserField::Cn => certificate.common_name.as_deref(),
        UserField::Email => certificate.emails.first().map(String::as_str),
        UserField::Dns => certificate.hosts.first().map(String::as_str),
        UserField::Uri => certificate.uris.first().map(String::as_str),
        UserField::Subject => Some(certificate.subject.as_str()),
    };
    named.filter(|name| is_plain(name))
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(char::is_control)
}

/// A certificate in PEM (RFC 7468).
fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// A distinguished name (RFC 4514): the last part first.
fn name(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = short_name(attribute.attr_type()).map_or_else(|| attribute.attr_type().to_id_string(), str::to_owned);
    match attribute.as_str() {
        Ok(value) => format!("{kind}={}", escaped(value)),
        // Section 2.4: a value that is no text.
        Err(_) => format!("{kind}=#{}", attribute.as_slice().iter().map(|octet| format!("{octet:02X}")).collect::<String>()),
    }
}

/// Section 3, and the name that OpenSSL and mod_ssl have for email addresses.
fn short_name(kind: &Oid<'_>) -> Option<&'static str> {
    Some(match kind.to_id_string().as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// Section 2.4.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => escaped.extend(['\\', c]),
            '#' if at == 0 => escaped.push_str("\\#"),
            ' ' if at == 0 || at == last => escaped.push_str("\\ "),
            c if c.is_control() => c.to_string().bytes().for_each(|octet| escaped.push_str(&format!("\\{octet:02X}"))),
            c => escaped.push(c),
        }
    }
    escaped
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_attributes().find(|attribute| *attribute.attr_type() == OID_X509_COMMON_NAME)?.as_str().ok().map(str::to_owned)
}

/// A time as OpenSSL prints it: `Nov 30 04:00:00 2026 GMT`.
fn date(time: ASN1Time) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = time.to_datetime();
    let month = MONTHS[usize::from(u8::from(time.month())).saturating_sub(1) % 12];
    format!("{month} {:>2} {:02}:{:02}:{:02} {} GMT", time.day(), time.hour(), time.minute(), time.second(), time.year())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = client_certificate(made.der(), true).unwrap();
        assert_eq!(read.pem.as_deref(), Some(made.pem().replace("\r\n", "\n").as_str()));
        read
    }

    #[test]
    fn a_certificate_is_read_as_mod_ssl_shows_it() {
        let read = certificate(|params| {
            params.distinguished_name.push(DnType::CountryName, "AT");
            params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
            params.distinguished_name.push(DnType::CommonName, "Ann #1");
            params.serial_number = Some(vec![0x0a, 0xff].into());
            params.not_before = rcgen::date_time_ymd(2026, 1, 5);
            params.not_after = rcgen::date_time_ymd(2027, 12, 31);
            params.subject_alt_names = vec![
                SanType::Rfc822Name("ann@example.com".try_into().unwrap()),
                SanType::DnsName("ann.example.com".try_into().unwrap()),
                SanType::URI("spiffe://example.com/ann".try_into().unwrap()),
            ];
        });
        assert_eq!(read.subject, "CN=Ann #1,O=Example\\, Inc.,C=AT");
        assert_eq!((read.common_name.as_deref(), read.serial.as_str()), (Some("Ann #1"), "0AFF"));
        assert_eq!((read.not_before.as_str(), read.not_after.as_str()), ("Jan  5 00:00:00 2026 GMT", "Dec 31 00:00:00 2027 GMT"));
        let users = [UserField::Cn, UserField::Email, UserField::Dns, UserField::Uri].map(|field| user(&read, field).unwrap());
        assert_eq!(users, ["Ann #1", "ann@example.com", "ann.example.com", "spiffe://example.com/ann"]);
    }

    #[test]
    fn an_alternative_name_with_control_characters_is_left_out_and_of_many_only_the_first_are_kept() {
        let read = certificate(|params| {
            let name = |text: &str| SanType::DnsName(text.try_into().unwrap());
            params.subject_alt_names = vec![name("a.test"), name("b.test\nc.test")];
            params.subject_alt_names.extend((0..200).map(|number| SanType::URI(format!("urn:{number}").as_str().try_into().unwrap())));
        });
        assert_eq!((read.hosts, read.uris.len()), (vec!["a.test".to_owned()], MOST));
    }

    #[test]
    fn a_name_with_control_characters_names_no_user() {
        let read = certificate(|params| params.distinguished_name.push(DnType::CommonName, "ann\r\nbob"));
        assert_eq!(user(&read, UserField::Cn), None);
        assert_eq!(read.subject, "CN=ann\\0D\\0Abob");
    }

    proptest! {
        #[test]
        fn hostile_octets_are_no_certificate_or_one_with_text(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = client_certificate(&CertificateDer::from(octets), true);
        }
    }
}
