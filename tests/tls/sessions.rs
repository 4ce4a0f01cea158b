//! Sessions that clients resume.

use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};

use super::authority::Authority;
use super::support::{Client, Site, body, config};

const TWO: &str = r#"{ "cert": "a.pem", "key": "a.key", "certificates": [{ "cert": "b.pem", "key": "b.key" }] }"#;

fn site() -> Site {
    let authority = Authority::new();
    authority.issue("a", &["a.test"]);
    authority.issue("b", &["b.test"]);
    Site::start(authority, TWO)
}

#[tokio::test]
async fn a_session_is_resumed_and_a_reload_keeps_it() {
    let mut site = site();
    for version in [&TLS12, &TLS13] {
        let client = Client { config: config(&site.authority, &[version]), ..site.client() };
        assert!(body(&client.get("a.test").await.unwrap()).ends_with(" initial"));
        assert!(body(&client.get("a.test").await.unwrap()).ends_with(" resumed"));
        for _ in 0..3 {
            site.reload(TWO).await;
            assert!(body(&client.get("a.test").await.unwrap()).ends_with(" resumed"), "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_session_of_one_name_is_not_resumed_for_another() {
    let site = site();
    for version in [&TLS12, &TLS13] {
        let mut client = Client { config: config(&site.authority, &[version]), ..site.client() };
        client.config.resumption = one_for_all();
        assert!(body(&client.get("a.test").await.unwrap()).ends_with(" initial"));
        // The client offers the session of `a.test`.
        assert!(body(&client.get("b.test").await.unwrap()).ends_with("b.test initial"), "{version:?}");
        assert!(body(&client.get("b.test").await.unwrap()).ends_with("b.test resumed"), "{version:?}");
    }
}

/// Sessions that a client offers to every server, whatever its name.
pub fn one_for_all() -> Resumption {
    Resumption::store(std::sync::Arc::new(OneForAll::new()))
}

/// A cache that has one name for all servers.
#[derive(Debug)]
struct OneForAll(rustls::client::ClientSessionMemoryCache);

impl OneForAll {
    fn new() -> Self {
        Self(rustls::client::ClientSessionMemoryCache::new(8))
    }
}

fn one() -> rustls::pki_types::ServerName<'static> {
    "one.test".try_into().unwrap()
}

impl rustls::client::ClientSessionStore for OneForAll {
    fn set_kx_hint(&self, _: rustls::pki_types::ServerName<'static>, group: rustls::NamedGroup) {
        self.0.set_kx_hint(one(), group);
    }

    fn kx_hint(&self, _: &rustls::pki_types::ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.0.kx_hint(&one())
    }

    fn set_tls12_session(&self, _: rustls::pki_types::ServerName<'static>, value: rustls::client::Tls12ClientSessionValue) {
        self.0.set_tls12_session(one(), value);
    }

    fn tls12_session(&self, _: &rustls::pki_types::ServerName<'_>) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.0.tls12_session(&one())
    }

    fn remove_tls12_session(&self, _: &rustls::pki_types::ServerName<'static>) {
        self.0.remove_tls12_session(&one());
    }

    fn insert_tls13_ticket(&self, _: rustls::pki_types::ServerName<'static>, value: rustls::client::Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(one(), value);
    }

    fn take_tls13_ticket(&self, _: &rustls::pki_types::ServerName<'static>) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one())
    }
}
