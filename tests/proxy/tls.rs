//! TLS to upstreams.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::support::Proxy;

/// An authority, a server's certificate and a client's, in a folder as PEM.
struct Pki {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    server: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Pki {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let server = (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap());
        let key = KeyPair::generate().unwrap();
        let client = CertificateParams::new(vec!["client".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        write("ca.pem", authority.pem());
        write("me.pem", client.pem());
        write("me.key", key.serialize_pem());
        Self { folder, authority, server }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Serves TLS on a loopback port and says which protocol was agreed upon. Gives the port.
    async fn serve(&self, alpn: &[&str], wants_client: bool) -> u16 {
        let builder =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions().unwrap();
        let builder = if wants_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.authority.der().clone()).unwrap();
            let provider = Arc::new(aws_lc_rs::default_provider());
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(vec![self.server.0.clone()], self.server.1.clone_key()).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                        let mut connection = h2::server::handshake(stream).await.unwrap();
                        while let Some(Ok((request, mut answer))) = connection.accept().await {
                            assert_eq!(request.uri().scheme_str(), Some("https"));
                            let mut body = answer.send_response(http::Response::new(()), false).unwrap();
                            body.send_data("h2".into(), true).unwrap();
                        }
                        return;
                    }
                    let mut head = [0; 4096];
                    while matches!(stream.read(&mut head).await, Ok(1..)) {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh1").await;
                    }
                });
            }
        });
        port
    }
}

fn proxy(port: u16, options: &str) -> Proxy {
    Proxy::start(&format!(r#"{{ "to": "https://localhost:{port}", "retry": false, {options} }}"#))
}

#[tokio::test]
async fn the_protocol_is_agreed_upon_by_alpn() {
    let pki = Pki::new("localhost");
    let ca = format!(r#""tls": {{ "ca": "{}" }}"#, pki.path("ca.pem"));
    for (offered, http, expected) in [
        (&["h2", "http/1.1"][..], "auto", Some("h2")),
        (&["http/1.1"], "auto", Some("h1")),
        (&[], "auto", Some("h1")),
        (&["h2", "http/1.1"], "1.1", Some("h1")),
        (&["h2"], "2", Some("h2")),
        (&[], "2", None),
    ] {
        let port = pki.serve(offered, false).await;
        let proxy = proxy(port, &format!(r#""http": "{http}", {ca}"#));
        for _ in 0..2 {
            let answer = proxy.get("/").await;
            match expected {
                Some(body) => assert_eq!(answer.body, body, "{offered:?} {http}: {:?}", proxy.logged("")),
                None => assert_eq!(answer.status, 502),
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_for_another_name_is_refused_and_the_log_says_so() {
    let (pki, other, elsewhere) = (Pki::new("localhost"), Pki::new("localhost"), Pki::new("elsewhere.example"));
    let with = |pki: &Pki, more: &str| format!(r#""tls": {{ "ca": "{}" {more} }}"#, pki.path("ca.pem"));
    for (server, options, status, said) in [
        (&pki, with(&other, ""), 502, "invalid peer certificate"),
        (&elsewhere, with(&elsewhere, ""), 502, "not valid for name"),
        (&elsewhere, with(&elsewhere, r#", "name": "elsewhere.example""#), 200, ""),
        (&pki, r#""tls": { "verify": false }"#.to_owned(), 200, "`tls.verify` is false"),
    ] {
        let port = server.serve(&["http/1.1"], false).await;
        let proxy = proxy(port, &options);
        assert_eq!(proxy.get("/").await.status, status, "{options}: {:?}", proxy.logged(""));
        assert!(said.is_empty() || !proxy.logged(said).is_empty(), "{options}: {:?}", proxy.logged(""));
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_gets_it() {
    let pki = Pki::new("localhost");
    let port = pki.serve(&["http/1.1"], true).await;
    let ca = pki.path("ca.pem");
    let own = format!(r#""tls": {{ "ca": "{ca}", "cert": "{}", "key": "{}" }}"#, pki.path("me.pem"), pki.path("me.key"));
    assert_eq!(proxy(port, &own).get("/").await.body, "h1");
    assert_eq!(proxy(port, &format!(r#""tls": {{ "ca": "{ca}" }}"#)).get("/").await.status, 502);
}

#[tokio::test]
async fn clear_text_where_tls_is_expected_is_502() {
    let upstream = super::support::Upstream::start(|mut connection| async move {
        connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        connection.head().await;
    })
    .await;
    let proxy = Proxy::start(&format!(
        r#"{{ "to": "https://127.0.0.1:{}", "tls": {{ "verify": false }}, "retry": false }}"#,
        upstream.address.port()
    ));
    assert_eq!(proxy.get("/").await.status, 502);
    assert_eq!(proxy.logged("phase=connect unreachable: TLS handshake").len(), 1, "{:?}", proxy.logged(""));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_at_their_line() {
    let pki = Pki::new("localhost");
    let missing = Path::new("/nowhere/ca.pem");
    for (options, said) in [
        (format!(r#"{{ "ca": "{}" }}"#, missing.display()), "cannot read `/nowhere/ca.pem`"),
        (format!(r#"{{ "ca": "{}" }}"#, pki.path("me.key")), "holds no certificate"),
        (format!(r#"{{ "cert": "{}" }}"#, pki.path("me.pem")), "needs its private key"),
        (format!(r#"{{ "cert": "{}", "key": "{}" }}"#, pki.path("me.pem"), pki.path("ca.pem")), "holds no private key"),
        (r#"{ "name": "a b" }"#.to_owned(), "is not the name of a server"),
    ] {
        let text = format!(r#"{{ "app": {{ "proxy": {{ "to": "https://localhost", "tls": {options} }} }} }}"#);
        let refused = ziggurat::Ziggurat::new().test().refusal(&text);
        assert!(refused.contains(said) && refused.contains("pipeline.json:1:"), "{options}: {refused}");
    }
}

#[tokio::test]
async fn a_websocket_goes_over_http1_where_the_server_takes_none_over_http2() {
    let pki = Pki::new("localhost");
    let port = pki.serve(&["h2", "http/1.1"], false).await;
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (version, status, body) in [("auto", 200, Some("h1")), ("2", 502, None)] {
        let proxy = proxy(port, &format!(r#""http": "{version}", "tls": {{ "ca": "{}" }}"#, pki.path("ca.pem")));
        let answer = proxy.exchange(ask.replace("upgrade\r\nU", "close, upgrade\r\nU")).await;
        assert_eq!(answer.status, status, "{answer:?} {:?}", proxy.logged(""));
        assert!(body.is_none_or(|body| answer.body == body), "{answer:?}");
        assert_eq!(proxy.get("/").await.body, "h2");
    }
}
