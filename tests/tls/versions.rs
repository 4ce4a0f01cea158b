//! Which versions of HTTP a listener speaks.

use std::path::Path;

use http::Request as HttpRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::service_fn;
use ziggurat::server::{Listen, Listener, Options, Server};
use ziggurat_middleware::Next;

use super::authority::Authority;
use super::support::{PATIENCE, Site, echo};

fn site(versions: &str) -> Site {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    let entry = format!(r#""tls": {{ "cert": "site.pem", "key": "site.key" }}, "http": {versions}"#);
    Site::start_entry(authority, &entry, "{}", Next::new("app.test", service_fn(echo)))
}

#[tokio::test]
async fn a_version_that_is_left_out_is_not_spoken() {
    let http1 = site(r#"["1.1"]"#);
    assert!(http1.client().offering(&["h2"]).connect("site.test").await.is_err());
    assert!(http1.client().offering(&["h2", "http/1.1"]).get("site.test").await.unwrap().starts_with("HTTP/1.1 200 "));
    let http2 = site(r#"["2"]"#);
    assert!(http2.client().offering(&["http/1.1"]).connect("site.test").await.is_err());
    // A client without ALPN.
    assert!(!http2.client().get("site.test").await.unwrap_or_default().contains("HTTP/1.1"));
    assert_eq!(http2.http2(HttpRequest::get("https://site.test/")).await.status(), 200);
}

#[tokio::test]
async fn a_version_that_is_left_out_is_not_spoken_in_clear_text() {
    const HTTP1: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    // The preface, and SETTINGS.
    const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for (versions, octets, is_spoken) in
        [(r#"["1.1"]"#, HTTP1, true), (r#"["1.1"]"#, HTTP2, false), (r#"["2"]"#, HTTP1, false), (r#"["2"]"#, HTTP2, true)]
    {
        let mut listen: Listen = "127.0.0.1:0".parse().unwrap();
        listen.http = serde_json::from_str(versions).unwrap();
        let listeners = Listener::bind(&listen, Path::new("/")).unwrap();
        let address = listeners[0].socket_addr().unwrap();
        let _server = Server::start(listeners, Next::new("app.test", service_fn(echo)), &Options::default()).unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(octets).await.unwrap();
        let mut begin = [0; 12];
        let answer = timeout(PATIENCE, stream.read_exact(&mut begin)).await.unwrap();
        let expected: &[u8] = if octets == HTTP1 { b"HTTP/1.1 200" } else { &[0, 0] };
        // SETTINGS of the server, and not its GOAWAY.
        let is_answered = answer.is_ok() && begin.starts_with(expected) && (octets == HTTP1 || begin[3] == 4);
        assert_eq!(is_answered, is_spoken, "{versions}: {begin:?}");
    }
}
