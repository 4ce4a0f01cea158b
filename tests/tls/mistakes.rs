//! What a user sees for files that cannot be used.

use std::os::unix::fs::PermissionsExt;

use ziggurat::pipeline::Pipeline;
use ziggurat_middleware::Lifecycle;

use super::authority::Authority;

/// What is printed for these options of `tls`, with the folder left out.
fn seen(authority: &Authority, tls: &str) -> String {
    let text = format!("{{\n  \"listen\": {{ \"at\": \":0\", \"tls\": {tls} }},\n  \"app\": {{ \"respond\": 200 }}\n}}\n");
    let pipeline = Pipeline::from_text("site.json", &text, authority.base(), &ziggurat::builtin(), &|_| None);
    let printed = match pipeline.as_ref().map(|pipeline| pipeline.listeners(&Lifecycle::default())) {
        Ok(Ok((_, warnings))) => warnings.render(false),
        Ok(Err(report)) => report.render(false),
        Err(report) => report.render(false),
    };
    printed.replace(&format!("{}/", authority.base().display()), "")
}

const ENCRYPTED: &str =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIBvTBXBgkqhkiG9w0BBQ0wSjApBgkqhkiG9w0BBQwwHAQI\n-----END ENCRYPTED PRIVATE KEY-----\n";

/// The head of an encrypted key as OpenSSL wrote it before PKCS #8.
const OLD: &str =
    "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n-----END EC PRIVATE KEY-----\n";

/// What RSA keys that are too short are too: no key for the provider of cryptography.
const UNKNOWN: &str = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";

#[tokio::test]
async fn files_that_cannot_be_used_are_errors_at_their_line_with_the_way_out() {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    authority.issue("other", &["other.test"]);
    authority.write("encrypted.key", ENCRYPTED);
    authority.write("empty.pem", "");
    authority.write("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB");
    authority.write("der.pem", b"\x30\x82\x01\x02");
    authority.write("pkcs12.pem", b"\x30\x82\x04\x02\x02\x01\x03\x30");
    authority.write("request.pem", "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n");
    authority.write("mark.pem", "\u{feff}-----BEGIN CERTIFICATE-----\n");
    authority.write("old.key", OLD);
    authority.write("unknown.key", UNKNOWN);
    std::fs::create_dir(authority.path("empty")).unwrap();
    let mut all = String::new();
    for tls in [
        r#"{ "cert": "gone.pem", "key": "gone.key" }"#,
        r#"{ "cert": "site.pem", "key": "encrypted.key" }"#,
        r#"{ "cert": "site.pem", "key": "other.key" }"#,
        r#"{ "cert": "site.key", "key": "site.pem" }"#,
        r#"{ "cert": "empty.pem", "key": "site.key" }"#,
        r#"{ "cert": "cut.pem", "key": "site.key" }"#,
        r#"{ "cert": "der.pem", "key": "site.key" }"#,
        r#"{ "cert": "site.pem", "key": "der.pem" }"#,
        r#"{ "cert": "pkcs12.pem", "key": "site.key" }"#,
        r#"{ "cert": "request.pem", "key": "site.key" }"#,
        r#"{ "cert": "mark.pem", "key": "site.key" }"#,
        r#"{ "cert": "site.pem", "key": "old.key" }"#,
        r#"{ "cert": "site.pem", "key": "unknown.key" }"#,
        r#"{ "cert": "site.pem", "key": "site.key", "certificates": [{ "cert": "other.pem", "key": "site.key" }] }"#,
        r#"{ "folder": "empty" }"#,
        r#"{ "folder": "gone" }"#,
        r#"{ "cert": "site.pem", "key": "site.key", "client": { "ca": "site.key", "crl": "ca.pem" } }"#,
        r#"{ "cert": "site.pem", "key": "site.key", "client": { "ca": "ca.pem", "crl": "ca.pem" } }"#,
    ] {
        all += &seen(&authority, tls);
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn doubtful_certificates_are_warnings_at_their_line() {
    let authority = Authority::new();
    authority.issue_with("old", &["site.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    authority.issue_with("early", &["site.test"], |params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    authority.issue("nameless", &[]);
    authority.issue("open", &["site.test"]);
    std::fs::set_permissions(authority.path("open.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let all: Vec<String> = ["old", "early", "nameless", "open"]
        .iter()
        .map(|file| seen(&authority, &format!(r#"{{ "cert": "{file}.pem", "key": "{file}.key" }}"#)))
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[tokio::test]
async fn hosts_of_routes_that_no_certificate_covers_are_warnings() {
    let authority = Authority::new();
    authority.issue("site", &["site.test", "*.shop.test"]);
    let text = r#"{
  "listen": [":0", { "at": ":0", "tls": { "cert": "site.pem", "key": "site.key" } }],
  "app": {
    "routes": [
      { "match": { "host": ["site.test", "SITE.test", "a.shop.test", "*.shop.test", "b.test"] }, "app": { "respond": 200 } },
      { "match": { "host": "shop.test" }, "app": { "respond": 200 } },
      { "app": { "respond": 404 } }
    ]
  }
}
"#;
    let pipeline = Pipeline::from_text("site.json", text, authority.base(), &ziggurat::builtin(), &|_| None).unwrap();
    let (_, warnings) = pipeline.listeners(&Lifecycle::default()).unwrap();
    insta::assert_snapshot!(warnings.render(false));
}
