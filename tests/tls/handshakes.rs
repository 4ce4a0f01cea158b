//! Versions, protocols, and handshakes that do not come to an end.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::NamedGroup;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::authority::Authority;
use super::support::{Client, PATIENCE, Site, body, config, echo};
use ziggurat_middleware::Next;

const PAIR: &str = r#"{ "cert": "site.pem", "key": "site.key" }"#;

fn site() -> Site {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    Site::start(authority, PAIR)
}

#[tokio::test]
async fn requests_over_tls_have_the_scheme_https_and_the_facts_of_their_connection() {
    let answer = site().client().get("site.test").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(body(&answer), "https TLSv1.3 TLS_AES_256_GCM_SHA384 site.test initial");
}

#[tokio::test]
async fn tls_1_2_is_spoken_with_forward_secrecy_and_only_if_it_is_the_least_version() {
    let site = site();
    let old = Client { config: config(&site.authority, &[&TLS12]), ..site.client() };
    assert_eq!(body(&old.get("site.test").await.unwrap()), "https TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 site.test initial");
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    let strict = Site::start(authority, r#"{ "cert": "site.pem", "key": "site.key", "min": "1.3" }"#);
    let old = Client { config: config(&strict.authority, &[&TLS12]), ..strict.client() };
    assert!(old.get("site.test").await.unwrap_err().to_string().contains("ProtocolVersion"));
    assert!(Client { config: config(&strict.authority, &[&TLS13]), ..strict.client() }.get("site.test").await.is_ok());
}

#[tokio::test]
async fn the_key_exchange_is_a_post_quantum_one_with_clients_that_have_it() {
    let site = site();
    let stream = site.client().connect("site.test").await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn alpn_selects_http2_or_http1() {
    let site = site();
    for (offered, agreed) in [(&["h2", "http/1.1"][..], Some(&b"h2"[..])), (&["http/1.1"], Some(b"http/1.1")), (&[], None)] {
        let stream = site.client().offering(offered).connect("site.test").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
    }
    assert!(site.client().offering(&["spdy/3"]).connect("site.test").await.unwrap_err().to_string().contains("NoApplicationProtocol"));
}

#[tokio::test]
async fn http2_runs_over_tls() {
    let site = site();
    let stream = site.client().offering(&["h2"]).connect("site.test").await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = http::Request::get("https://site.test/").body(Empty::<bytes::Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "https TLSv1.3 TLS_AES_256_GCM_SHA384 site.test initial");
    }
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_refused_where_tls_did_not_negotiate_it() {
    let site = site();
    let mut stream = site.client().offering(&["http/1.1"]).connect("site.test").await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 505 ") || answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn silent_and_broken_handshakes_end_in_time() {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    let site = Site::start_with(authority, PAIR, r#"{ "handshake_timeout": "100ms" }"#, Next::new("app.test", tower::service_fn(echo)));
    for octets in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut socket = site.socket().await;
        socket.write_all(octets).await.unwrap();
        let mut rest = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert_eq!(rest, b"");
    }
}

#[tokio::test]
async fn two_thousand_silent_handshakes_shut_nobody_out() {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    let site = Site::start_with(authority, PAIR, r#"{ "max_handshakes": 50 }"#, Next::new("app.test", tower::service_fn(echo)));
    let mut silent = Vec::new();
    for number in 0..2_000 {
        let mut socket = TcpStream::connect(site.address).await.unwrap();
        // Half of them begin a hello.
        if number % 2 == 0 {
            socket.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01").await.unwrap();
        }
        silent.push(socket);
        if number % 100 == 0 {
            assert!(site.client().get("site.test").await.is_ok(), "after {number} silent ones");
        }
    }
    assert!(site.client().get("site.test").await.is_ok());
    assert!(site.server.as_ref().unwrap().traffic().handshakes() <= 50);
}
