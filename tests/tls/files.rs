//! Files of certificates that change while the server serves.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::Authority;
use super::support::{Client, PATIENCE, Site};

const PAIR: &str = r#"{ "cert": "site.pem", "key": "site.key" }"#;

/// The serial number of the certificate that a client of this name gets.
async fn serial(client: &Client, name: &str) -> String {
    let stream = client.connect(name).await.unwrap();
    let chain = stream.get_ref().1.peer_certificates().unwrap().to_vec();
    let (_, certificate) = X509Certificate::from_der(&chain[0]).unwrap();
    certificate.raw_serial_as_string()
}

/// Waits until a client gets another certificate than `before`.
async fn changed(client: &Client, before: &str) -> String {
    let begin = Instant::now();
    loop {
        let now = serial(client, "site.test").await;
        if now != before {
            return now;
        }
        assert!(begin.elapsed() < PATIENCE, "the change is not noticed");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until this holds.
async fn until(holds: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{}", otherwise());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Writes a file as a careful program does.
fn replace(authority: &Authority, file: &str, text: &str) {
    authority.write_key("new", text);
    std::fs::rename(authority.path("new"), authority.path(file)).unwrap();
}

#[tokio::test]
async fn a_changed_pair_is_served_without_a_reload_and_connections_go_on() {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    let site = Site::start(authority, PAIR);
    let client = site.client().fresh();
    let before = serial(&client, "site.test").await;
    let mut open = client.connect("site.test").await.unwrap();
    let (cert, key) = site.authority.make(&["site.test"], |_| ());
    // The key comes first, and the certificate does not fit for a while.
    replace(&site.authority, "site.key", &key);
    until(|| site.status().contains("is not that of the certificate"), || site.status()).await;
    assert_eq!(serial(&client, "site.test").await, before);
    replace(&site.authority, "site.pem", &cert);
    changed(&client, &before).await;
    let answer = super::support::exchange(&mut open, "GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_used_leaves_the_certificate_before_and_shows_in_status_and_metrics() {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    let site = Site::start(authority, PAIR);
    let client = site.client().fresh();
    let before = serial(&client, "site.test").await;
    let (other, _) = site.authority.make(&["site.test"], |_| ());
    let (expired, its_key) = site.authority.make(&["site.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let good_key = std::fs::read_to_string(site.authority.path("site.key")).unwrap();
    for (cert, key, problem) in [
        (other.as_str(), good_key.as_str(), "is not that of the certificate"),
        ("nonsense", &good_key, "holds no certificate"),
        (&expired, &its_key, "has expired"),
    ] {
        replace(&site.authority, "site.key", key);
        replace(&site.authority, "site.pem", cert);
        until(|| site.status().contains(problem), || site.status()).await;
        assert_eq!(serial(&client, "site.test").await, before);
    }
    let metrics = site.lifecycle.scrape().to_string();
    assert!(metrics.contains("ziggurat_tls_problems{listener=\"127.0.0.1:0\"} 1\n"), "{metrics}");
    assert!(metrics.contains("ziggurat_tls_certificate_days_left{listener=\"127.0.0.1:0\""), "{metrics}");
    let (cert, key) = site.authority.make(&["site.test"], |_| ());
    replace(&site.authority, "site.key", &key);
    replace(&site.authority, "site.pem", &cert);
    changed(&client, &before).await;
    assert!(!site.status().contains("has expired"), "{}", site.status());
}

#[tokio::test]
async fn a_hundred_swaps_under_load_fail_no_request() {
    let authority = Authority::new();
    // As Kubernetes does it: the files are links into a folder, which is a link that is replaced.
    let version = |number: usize| format!("..{number}");
    let write = |authority: &Authority, number: usize| {
        std::fs::create_dir(authority.path(&version(number))).unwrap();
        let (cert, key) = authority.make(&["site.test"], |_| ());
        authority.write(&format!("{}/tls.crt", version(number)), cert);
        authority.write_key(&format!("{}/tls.key", version(number)), key);
        let _ = std::fs::remove_file(authority.path("next"));
        symlink(version(number), authority.path("next")).unwrap();
        std::fs::rename(authority.path("next"), authority.path("..data")).unwrap();
    };
    write(&authority, 0);
    symlink("..data/tls.crt", authority.path("tls.crt")).unwrap();
    symlink("..data/tls.key", authority.path("tls.key")).unwrap();
    let site = Site::start(authority, r#"{ "cert": "tls.crt", "key": "tls.key" }"#);
    let client = site.client().fresh();
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..3)
        .map(|_| {
            let (client, done, served) = (client.clone(), Arc::clone(&done), Arc::clone(&served));
            tokio::spawn(async move {
                while !done.load(SeqCst) {
                    let answer = client.get("site.test").await.unwrap();
                    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                    served.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let mut seen = std::collections::HashSet::new();
    for number in 1..=100 {
        let before = served.load(SeqCst);
        write(&site.authority, number);
        while served.load(SeqCst) < before + 3 {
            sleep(Duration::from_millis(5)).await;
        }
        seen.insert(serial(&client, "site.test").await);
    }
    done.store(true, SeqCst);
    for load in load {
        load.await.unwrap();
    }
    assert!(seen.len() > 5, "only {} certificates were served", seen.len());
    let last = std::fs::read_to_string(site.authority.path("tls.crt")).unwrap();
    let last = serial_of(&last);
    let begin = Instant::now();
    while serial(&client, "site.test").await != last {
        assert!(begin.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
}

fn serial_of(pem: &str) -> String {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    certificate.raw_serial_as_string()
}

#[tokio::test]
async fn certificates_of_a_folder_come_and_go() {
    let authority = Authority::new();
    std::fs::create_dir_all(authority.path("sites/live")).unwrap();
    authority.issue("sites/a", &["a.test"]);
    let (cert, key) = authority.make(&["site.test"], |_| ());
    authority.write("sites/live/fullchain.pem", cert);
    authority.write_key("sites/live/privkey.pem", key);
    let site = Site::start(authority, r#"{ "folder": "sites" }"#);
    let client = site.client().fresh();
    assert!(client.get("a.test").await.is_ok() && client.get("site.test").await.is_ok());
    assert!(client.get("b.test").await.is_err());
    site.authority.issue("sites/b", &["b.test"]);
    let begin = Instant::now();
    while client.get("b.test").await.is_err() {
        assert!(begin.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    for file in ["sites/b.pem", "sites/b.key"] {
        std::fs::remove_file(site.authority.path(Path::new(file).to_str().unwrap())).unwrap();
    }
    while client.get("b.test").await.is_ok() {
        assert!(begin.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    assert!(client.get("a.test").await.is_ok());
}
