//! Certificates of clients.

use std::convert::Infallible;

use rcgen::{DnType, SanType};
use rustls::version::{TLS12, TLS13};
use ziggurat_middleware::{Body, Next, Request, Response, TlsInfo};

use super::authority::Authority;
use super::sessions::one_for_all;
use super::support::{Client, Site, body, config, with_certificate};

const REQUIRED: &str = r#"{ "cert": "site.pem", "key": "site.key", "client": { "ca": "ca.pem", "user": "cn" } }"#;
const OPTIONAL: &str = r#"{ "cert": "site.pem", "key": "site.key", "client": { "ca": "ca.pem", "user": "cn", "required": false } }"#;
const REVOKING: &str = r#"{ "cert": "site.pem", "key": "site.key", "client": { "ca": "ca.pem", "crl": "crl.pem", "user": "cn" } }"#;

/// A site's certificate, and that of a person with the serial number 7.
pub fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    authority.issue_with("ann", &[], |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, "ann");
        params.subject_alt_names = vec![SanType::Rfc822Name("ann@example.com".try_into().unwrap())];
        params.serial_number = Some(7_u64.into());
    });
    authority
}

#[tokio::test]
async fn a_required_certificate_is_verified_and_names_the_user() {
    let site = Site::start(authority(), REQUIRED);
    for version in [&TLS12, &TLS13] {
        let without = Client { config: config(&site.authority, &[version]), ..site.client() };
        assert!(without.get("site.test").await.is_err());
        let ann = with_certificate(&site, &[version], "ann");
        let answer = ann.get("site.test").await.unwrap();
        assert!(body(&answer).ends_with(" initial CN=ann,O=Example as ann"), "{answer}");
    }
    let stranger = Authority::new();
    stranger.issue("eve", &["eve.test"]);
    for file in ["eve.pem", "eve.key"] {
        std::fs::copy(stranger.path(file), site.authority.path(file)).unwrap();
    }
    assert!(with_certificate(&site, &[&TLS13], "eve").get("site.test").await.is_err());
}

#[tokio::test]
async fn the_certificate_itself_is_known_where_the_options_ask_for_it_also_in_a_resumed_session() {
    let show = async |request: Request| -> Result<Response, Infallible> {
        let tls = request.extensions().get::<TlsInfo>().unwrap();
        let pem = tls.client.as_ref().unwrap().pem.clone();
        Ok(Response::new(Body::from(format!("{} {}", tls.is_resumed, pem.unwrap_or_default()))))
    };
    for (options, is_shown) in [(REQUIRED.replace("\"user\"", "\"export_cert\": true, \"user\""), true), (REQUIRED.to_owned(), false)] {
        let site = Site::start_with(authority(), &options, "{}", Next::new("app.test", tower::service_fn(show)));
        let expected = std::fs::read_to_string(site.authority.path("ann.pem")).unwrap().replace("\r\n", "\n");
        let ann = with_certificate(&site, &[&TLS13], "ann");
        for is_resumed in [false, true] {
            let answer = ann.get("site.test").await.unwrap();
            assert_eq!(body(&answer), format!("{is_resumed} {}", if is_shown { expected.as_str() } else { "" }));
        }
    }
}

#[tokio::test]
async fn an_optional_certificate_is_verified_if_it_is_shown() {
    let site = Site::start(authority(), OPTIONAL);
    assert!(body(&site.client().get("site.test").await.unwrap()).ends_with(" initial"));
    assert!(body(&with_certificate(&site, &[&TLS13], "ann").get("site.test").await.unwrap()).ends_with(" as ann"));
}

#[tokio::test]
async fn a_session_without_a_certificate_is_refused_once_a_certificate_is_required() {
    for version in [&TLS12, &TLS13] {
        let mut site = Site::start(authority(), OPTIONAL);
        let client = Client { config: config(&site.authority, &[version]), ..site.client() };
        for session in ["initial", "resumed"] {
            assert!(body(&client.get("site.test").await.unwrap()).ends_with(session));
        }
        site.reload(REQUIRED).await;
        assert!(client.get("site.test").await.is_err());
    }
}

#[tokio::test]
async fn a_resumed_session_has_the_certificate_that_it_began_with() {
    let site = Site::start(authority(), REQUIRED);
    for version in [&TLS12, &TLS13] {
        let ann = with_certificate(&site, &[version], "ann");
        for session in ["initial", "resumed", "resumed"] {
            let answer = ann.get("site.test").await.unwrap();
            assert!(body(&answer).ends_with(&format!(" {session} CN=ann,O=Example as ann")), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_revoked_while_a_session_lives_gets_nothing_more() {
    let authority = authority();
    authority.revoke("crl.pem", &[], 2100);
    let site = Site::start(authority, REVOKING);
    let clients = [&TLS12, &TLS13].map(|version| with_certificate(&site, &[version], "ann"));
    for client in &clients {
        for session in ["initial", "resumed"] {
            assert!(body(&client.get("site.test").await.unwrap()).contains(session));
        }
    }
    site.authority.revoke("crl.pem", &[7], 2100);
    site.refresh();
    for client in &clients {
        assert!(client.get("site.test").await.is_err());
    }
}

/// A public name, and one for people with certificates, under one wildcard each.
fn two_policies() -> Site {
    let authority = authority();
    authority.issue("public", &["public.test", "*.test"]);
    authority.issue("staff", &["staff.test"]);
    Site::start(
        authority,
        r#"{ "cert": "public.pem", "key": "public.key", "certificates": [{ "cert": "staff.pem", "key": "staff.key", "client": { "ca": "ca.pem", "user": "cn" } }] }"#,
    )
}

#[tokio::test]
async fn one_name_of_several_may_ask_for_certificates() {
    let site = two_policies();
    for version in [&TLS12, &TLS13] {
        let without = Client { config: config(&site.authority, &[version]), ..site.client() };
        assert!(body(&without.get("public.test").await.unwrap()).ends_with("public.test initial"));
        assert!(without.get("staff.test").await.is_err());
        let ann = with_certificate(&site, &[version], "ann");
        assert!(body(&ann.get("staff.test").await.unwrap()).ends_with(" as ann"));
        assert!(body(&ann.get("public.test").await.unwrap()).ends_with("public.test initial"));
    }
}

#[tokio::test]
async fn a_request_for_a_host_with_another_policy_is_misdirected() {
    let site = two_policies();
    let ann = with_certificate(&site, &[&TLS13], "ann");
    for (client, name, host, status) in [
        (site.client(), "public.test", "public.test", 200),
        (site.client(), "public.test", "other.test", 200),
        // The wildcard is for it, too.
        (site.client(), "public.test", "staff.test", 421),
        (site.client(), "public.test", "STAFF.test.:443", 421),
        (ann.clone(), "staff.test", "staff.test", 200),
        (ann.clone(), "staff.test", "public.test", 421),
    ] {
        let answer = client.get_host(name, host).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name} {host}: {answer}");
    }
}

#[tokio::test]
async fn a_session_without_a_certificate_is_not_resumed_for_a_name_that_requires_one() {
    let site = two_policies();
    for version in [&TLS12, &TLS13] {
        let mut client = Client { config: config(&site.authority, &[version]), ..site.client() };
        client.config.resumption = one_for_all();
        assert!(client.get("public.test").await.is_ok());
        // The client offers the session of `public.test`.
        assert!(client.get("staff.test").await.is_err());
    }
}

#[tokio::test]
async fn an_expired_revocation_list_refuses_or_warns_as_configured() {
    let authority = authority();
    authority.revoke("crl.pem", &[], 2020);
    let site = Site::start(authority, REVOKING);
    assert!(site.warnings.contains("a revocation list is past its next update: certificates of clients are refused"), "{}", site.warnings);
    assert!(with_certificate(&site, &[&TLS13], "ann").get("site.test").await.is_err());
    let authority = self::authority();
    authority.revoke("crl.pem", &[], 2020);
    let site = Site::start(authority, &REVOKING.replace("\"crl\":", "\"expired_crl\": \"warn\", \"crl\":"));
    assert!(site.warnings.contains("certificates that were revoked since are accepted"), "{}", site.warnings);
    assert!(with_certificate(&site, &[&TLS13], "ann").get("site.test").await.is_ok());
}
