//! Certificates by the name that a client asks for, and requests for other hosts.

use std::sync::Arc;

use rustls::SignatureScheme;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::Authority;
use super::no_verification::NoVerification;
use super::support::{Client, Site};

/// The default, a name, a wildcard, and another name; and its options.
pub fn site() -> (Site, String) {
    let authority = Authority::new();
    authority.issue("default", &["default.test", "10.0.0.1"]);
    authority.issue("a", &["a.test", "www.a.test"]);
    authority.issue("wild", &["*.wild.test"]);
    authority.issue("one", &["one.wild.test"]);
    let pair = |name: &str| format!(r#"{{ "cert": "{name}.pem", "key": "{name}.key" }}"#);
    let more = ["a", "wild", "one"].map(pair).join(", ");
    let tls = format!(r#"{{ "cert": "default.pem", "key": "default.key", "certificates": [{more}] }}"#);
    (Site::start(authority, &tls), tls)
}

/// A client that looks at certificates only.
pub fn careless(site: &Site) -> Client {
    verifying(site, &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256])
}

/// A client that knows these signatures only.
fn verifying(site: &Site, schemes: &[SignatureScheme]) -> Client {
    let mut client = site.client().fresh();
    client.config.dangerous().set_certificate_verifier(Arc::new(NoVerification(schemes.to_vec())));
    client
}

/// The first name of the certificate that a client of this name gets.
pub async fn certificate_for(client: &Client, name: &str) -> String {
    let stream = client.connect(name).await.unwrap();
    let chain = stream.get_ref().1.peer_certificates().unwrap().to_vec();
    let (_, certificate) = X509Certificate::from_der(&chain[0]).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    names.value.general_names[0].to_string().trim_start_matches("DNSName(").trim_end_matches(')').to_owned()
}

#[tokio::test]
async fn a_name_gets_its_certificate_then_a_wildcard_then_the_default() {
    let (site, _) = site();
    let client = careless(&site);
    for (asked, got) in [
        ("a.test", "a.test"),
        ("www.a.test", "a.test"),
        ("WWW.A.TEST", "a.test"),
        ("one.wild.test", "one.wild.test"),
        ("two.wild.test", "*.wild.test"),
        ("wild.test", "default.test"),
        ("x.y.wild.test", "default.test"),
        ("unknown.test", "default.test"),
        // An address is no name: the client sends none.
        ("10.0.0.1", "default.test"),
    ] {
        assert_eq!(certificate_for(&client, asked).await, got, "{asked}");
    }
}

#[tokio::test]
async fn a_request_for_a_host_of_another_certificate_is_misdirected() {
    let (site, _) = site();
    let client = careless(&site);
    for (name, host, status) in [
        ("a.test", "a.test", 200),
        ("a.test", "A.test.:8443", 200),
        // The certificate is for it.
        ("a.test", "www.a.test", 200),
        ("one.wild.test", "two.wild.test", 421),
        ("two.wild.test", "three.wild.test", 200),
        ("a.test", "default.test", 421),
        ("a.test", "unknown.test", 421),
        // No certificate is for it, and the client has asked for it.
        ("unknown.test", "unknown.test", 200),
        ("unknown.test", "a.test", 421),
        // A health check by address.
        ("10.0.0.1", "127.0.0.1:8443", 200),
        ("10.0.0.1", "a.test", 200),
    ] {
        let answer = client.get_host(name, host).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name} {host}: {answer}");
    }
}

#[tokio::test]
async fn rsa_stands_beside_ecdsa_and_a_client_gets_what_it_can_verify() {
    let authority = Authority::new();
    authority.issue_rsa("rsa", &["site.test"]);
    authority.issue("ecdsa", &["site.test"]);
    let site =
        Site::start(authority, r#"{ "cert": "rsa.pem", "key": "rsa.key", "certificates": [{ "cert": "ecdsa.pem", "key": "ecdsa.key" }] }"#);
    let (rsa, ecdsa) = (SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256);
    for (schemes, is_rsa) in [(&[rsa, ecdsa][..], false), (&[ecdsa], false), (&[rsa], true)] {
        // With a name, and without one.
        for name in ["site.test", "127.0.0.1"] {
            let stream = verifying(&site, schemes).connect(name).await.unwrap();
            let chain = stream.get_ref().1.peer_certificates().unwrap();
            let (_, certificate) = X509Certificate::from_der(&chain[0]).unwrap();
            let kind = certificate.public_key().parsed().unwrap();
            assert_eq!(matches!(kind, x509_parser::public_key::PublicKey::RSA(_)), is_rsa, "{schemes:?} {name}");
        }
    }
    // A client that can verify nothing is told so.
    let error = verifying(&site, &[SignatureScheme::ED448]).connect("site.test").await.unwrap_err().to_string();
    assert!(error.contains("HandshakeFailure"), "{error}");
}
