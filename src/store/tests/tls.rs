//! A Redis behind TLS: whom the store trusts, and whom Redis does.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use ziggurat_middleware::store::Store;

use super::redis_server::Redis;
use super::{key, open, quota, take, until, until_down};

/// Certificates in a folder.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    /// Writes a certificate and its key: `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        std::fs::write(self.path(&format!("{name}.pem")), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A Redis with the certificate of `redis.test`, and its port; `None` if it is not installed.
fn redis(authority: &Authority, more: &[&str]) -> Option<(Redis, u16)> {
    authority.issue("redis.test");
    let path = |name: &str| authority.path(name).display().to_string();
    for _ in 0..20 {
        // Redis cannot choose a port itself. Another program may take it first: then there is another try.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = [
            ("--tls-port", port.to_string()),
            ("--bind", "127.0.0.1".to_owned()),
            ("--tls-cert-file", path("redis.test.pem")),
            ("--tls-key-file", path("redis.test.key")),
            ("--tls-ca-cert-file", path("ca.pem")),
        ];
        let arguments = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        match Redis::start_with(arguments.chain(more.iter().map(|&word| word.to_owned())).collect()) {
            Ok(redis) => return Some((redis, port)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(_) => {}
        }
    }
    panic!("redis-server does not start");
}

/// The store at this port, trusting this file, with further options of TLS.
fn store(port: u16, ca: &Path, more: Value) -> Value {
    let mut tls = json!({ "ca": ca });
    tls.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "url": format!("rediss://127.0.0.1:{port}/2"), "timeout": "1s", "connect_timeout": "10s", "tls": tls })
}

#[tokio::test]
async fn a_redis_behind_tls_decides_and_one_that_is_not_trusted_never_does() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let Some((_redis, port)) = redis(&authority, &["--tls-auth-clients", "no"]) else { return };
    let ca = authority.path("ca.pem");
    let trusted = open(store(port, &ca, json!({})));
    until(&trusted, "up").await;
    assert_eq!(take(&trusted, &key("k"), quota("1/h", 5)).await.remaining, 4);
    let named = open(store(port, &ca, json!({ "name": "redis.test" })));
    assert_eq!(take(&named, &key("k"), quota("1/h", 5)).await.remaining, 3);
    for (ca, more, reason) in
        [(stranger.path("ca.pem"), json!({}), "invalid peer certificate"), (ca, json!({ "name": "other.test" }), "not valid for name")]
    {
        let wrong = open(store(port, &ca, more));
        until_down(&wrong, reason).await;
        assert!(wrong.take(&key("k"), quota("1/h", 5)).await.is_err(), "{reason}");
    }
    // Without TLS, Redis ends the connection.
    let plain = open(json!({ "url": format!("redis://127.0.0.1:{port}"), "connect_timeout": "10s" }));
    until(&plain, "down").await;
}

#[tokio::test]
async fn a_redis_may_ask_for_a_certificate_and_a_password() {
    let authority = Authority::new();
    let Some((_redis, port)) = redis(&authority, &["--tls-auth-clients", "yes", "--requirepass", "s3cr3t"]) else { return };
    authority.issue("site.test");
    let ca = authority.path("ca.pem");
    let own = json!({ "cert": authority.path("site.test.pem"), "key": authority.path("site.test.key") });
    let with_password = |mut setting: Value, password: &str| {
        setting["password"] = password.into();
        open(setting)
    };
    let known = with_password(store(port, &ca, own.clone()), "s3cr3t");
    assert_eq!(take(&known, &key("k"), quota("1/h", 5)).await.remaining, 4);
    let wrong = with_password(store(port, &ca, own), "wrong");
    until_down(&wrong, "WRONGPASS").await;
    let unknown = with_password(store(port, &ca, json!({})), "s3cr3t");
    until(&unknown, "down").await;
}
