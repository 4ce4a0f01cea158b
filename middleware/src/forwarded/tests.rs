//! What a stack below `forwarded` believes.

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::{Body, TestResponse, TestStack, request};

/// Trusts 10.0.0.0/8; the peer is 10.0.0.1.
const X: &str = r#"["10.0.0.0/8"]"#;
const RFC: &str = r#"{"trust": "10.0.0.0/8", "header": "forwarded"}"#;

/// Answers with what the app sees: client, scheme, port, host, and the names of what is left of the headers.
fn stack(options: &str) -> TestStack {
    TestStack::of::<Forwarded>(options).over(async |request: Request| {
        let connection = request.extensions().get::<ConnectionInfo>().unwrap();
        let client = match (connection.client, connection.client_port) {
            (Some(client), Some(port)) => SocketText(client, port).to_string(),
            (Some(client), None) => client.to_string(),
            (None, _) => "unix".to_owned(),
        };
        let port = connection.server_port.map_or("-".to_owned(), |port| port.to_string());
        let host = request.headers()[HOST].to_str().unwrap();
        let mut left: Vec<_> = request.headers().keys().map(HeaderName::as_str).filter(|name| *name != "host").collect();
        left.sort_unstable();
        Response::new(Body::from(format!("{client} {} {port} {host} [{}]", connection.scheme.as_str(), left.join(" "))))
    })
}

struct SocketText(IpAddr, u16);

impl fmt::Display for SocketText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.0, self.1).fmt(f)
    }
}

async fn send(options: &str, peer: Option<&str>, headers: &[(&'static str, &[u8])]) -> TestResponse {
    let mut request = request(Method::GET, "/", "");
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let connection = request.extensions_mut().get_mut::<ConnectionInfo>().unwrap();
    connection.client = peer.map(|peer| peer.parse().unwrap());
    if peer.is_none() {
        connection.local = None;
    }
    stack(options).send(request).await
}

/// What is seen of a request from 10.0.0.1.
async fn seen(options: &str, headers: &[(&'static str, &str)]) -> String {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let response = send(options, Some("10.0.0.1"), &headers).await;
    let text = response.text();
    if response.status() == 200 { text.rsplit_once(" [").unwrap().0.to_owned() } else { text.trim_end().replace('\n', ": ") }
}

#[tokio::test]
async fn an_untrusted_peer_is_not_believed_and_its_headers_are_removed() {
    let headers: [(_, &[u8]); 9] = [
        ("forwarded", b"for=1.1.1.1;proto=https"),
        ("x-forwarded-for", b"1.1.1.1"),
        ("x-forwarded-for", b"127.0.0.1"),
        ("x-forwarded-proto", b"https"),
        ("x-forwarded-host", b"evil.test"),
        ("x-forwarded-ssl", b"on"),
        ("x-forwarded-prefix", b"/x"),
        ("x-real-ip", b"1.1.1.1"),
        ("accept", b"*/*"),
    ];
    for (options, peer) in [(X, "11.0.0.1"), ("null", "127.0.0.1"), ("null", "10.0.0.1"), (r#""unix""#, "::1")] {
        let told = send(options, Some(peer), &headers).await.text();
        let peer = SocketText(peer.parse().unwrap(), 40_000);
        assert_eq!(told, format!("{peer} http - test [accept]"), "{options}");
    }
}

#[tokio::test]
async fn a_unix_peer_is_believed_only_if_unix_is_trusted() {
    let headers: [(_, &[u8]); 1] = [("x-forwarded-for", b"192.0.2.9")];
    assert_eq!(send(r#""unix""#, None, &headers).await.text(), "192.0.2.9 http - test [x-forwarded-for]");
    assert_eq!(send(r#"["0.0.0.0/0", "::/0"]"#, None, &headers).await.text(), "unix http - test []");
}

#[tokio::test]
async fn the_client_is_the_rightmost_address_that_is_not_trusted() {
    for (line, client) in [
        ("192.0.2.9", "192.0.2.9"),
        ("1.1.1.1, 192.0.2.9", "192.0.2.9"),
        ("1.1.1.1, 192.0.2.9, 10.2.2.2,10.3.3.3", "192.0.2.9"),
        ("127.0.0.1, 10.9.9.9, 192.0.2.9, 10.2.2.2", "192.0.2.9"),
        ("10.4.4.4, 10.2.2.2", "10.4.4.4"),
        ("192.0.2.9:4711", "192.0.2.9:4711"),
        ("[2001:db8::9]:4711, ::ffff:10.2.2.2", "[2001:db8::9]:4711"),
        ("2001:db8::9", "2001:db8::9"),
        ("192.0.2.9, unknown", "10.0.0.1:40000"),
        ("192.0.2.9, _hidden, 10.2.2.2", "10.2.2.2"),
        ("192.0.2.9, unix:", "10.0.0.1:40000"),
        (", 192.0.2.9 ,, ", "192.0.2.9"),
        ("", "10.0.0.1:40000"),
    ] {
        assert_eq!(seen(X, &[("x-forwarded-for", line)]).await, format!("{client} http - test"), "{line}");
    }
}

#[tokio::test]
async fn lines_of_a_list_count_as_one() {
    let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.9"), ("x-forwarded-for", "10.2.2.2")];
    assert_eq!(seen(X, &lines).await, "192.0.2.9 http - test");
    let lines = [("forwarded", "for=1.1.1.1;proto=https"), ("forwarded", "for=192.0.2.9"), ("forwarded", "for=10.2.2.2;proto=https")];
    assert_eq!(seen(RFC, &lines).await, "192.0.2.9 http - test");
}

#[tokio::test]
async fn scheme_host_and_port_come_from_the_clients_hop() {
    let client = ("x-forwarded-for", "1.1.1.1, 192.0.2.9, 10.2.2.2");
    for (headers, told) in [
        (vec![("x-forwarded-proto", "https")], "https 443 test"),
        (vec![("x-forwarded-proto", "http, https, http")], "https 443 test"),
        (vec![("x-forwarded-proto", "https, http")], "https 443 test"),
        (vec![("x-forwarded-proto", "wss")], "https 443 test"),
        (vec![("x-forwarded-proto", "HTTPS"), ("x-forwarded-port", "8443")], "https 8443 test"),
        (vec![("x-forwarded-host", "evil.test, shop.test:81, inner.test")], "http 81 shop.test:81"),
        (vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.test")], "https 443 shop.test"),
        (vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.test:81"), ("x-forwarded-port", "82")], "https 82 shop.test:81"),
        (vec![("x-forwarded-host", "[2001:db8::1]:8000")], "http 8000 [2001:db8::1]:8000"),
        (vec![("x-forwarded-proto", "nonsense, https, http")], "https 443 test"),
    ] {
        let all: Vec<_> = std::iter::once(client).chain(headers).collect();
        assert_eq!(seen(X, &all).await, format!("192.0.2.9 {told}"), "{all:?}");
    }
}

#[tokio::test]
async fn the_element_that_the_outermost_trusted_proxy_wrote_is_believed() {
    for (line, told) in [
        ("for=192.0.2.9;proto=https;host=shop.test", "192.0.2.9 https 443 shop.test"),
        (r#"for="[2001:db8::9]:4711";proto=https;host="shop.test:8443""#, "[2001:db8::9]:4711 https 8443 shop.test:8443"),
        ("for=1.1.1.1;host=evil.test;proto=https, for=192.0.2.9;proto=http", "192.0.2.9 http 80 test"),
        ("for=192.0.2.9;proto=https;host=a.test, for=10.2.2.2;proto=http;host=b.test", "192.0.2.9 https 443 a.test"),
        ("for=192.0.2.9, for=10.2.2.2;proto=https", "192.0.2.9 http - test"),
        ("for=1.1.1.1;proto=http, for=unknown;proto=https", "10.0.0.1:40000 https 443 test"),
        ("for=1.1.1.1, proto=https", "10.0.0.1:40000 https 443 test"),
    ] {
        assert_eq!(seen(RFC, &[("forwarded", line)]).await, told, "{line}");
    }
}

#[tokio::test]
async fn the_kind_of_header_that_is_not_read_is_removed() {
    let headers: [(_, &[u8]); 3] = [("forwarded", b"for=1.1.1.1"), ("x-forwarded-for", b"192.0.2.9"), ("x-real-ip", b"2.2.2.2")];
    assert_eq!(send(X, Some("10.0.0.1"), &headers).await.text(), "192.0.2.9 http - test [x-forwarded-for x-real-ip]");
    assert_eq!(send(RFC, Some("10.0.0.1"), &headers).await.text(), "1.1.1.1 http - test [forwarded]");
}

#[tokio::test]
async fn what_a_trusted_proxy_sends_malformed_is_refused() {
    for (name, line) in [
        ("x-forwarded-for", "192.0.2.9, localhost"),
        ("x-forwarded-for", "192.0.2.9, 10.2.2.2:99999"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-host", "a/b"),
        ("x-forwarded-host", "user@shop.test"),
        ("x-forwarded-port", "0"),
        ("x-forwarded-port", "8o"),
    ] {
        assert!(seen(X, &[(name, line)]).await.starts_with("400 Bad Request: the `X-Forwarded-"), "{line}");
    }
    for line in ["for=\"192.0.2.9", "for=localhost", "for=192.0.2.9;host=a/b", "for=192.0.2.9;proto=gopher", "nonsense, for=192.0.2.9"] {
        assert_eq!(seen(RFC, &[("forwarded", line)]).await, "400 Bad Request: the `Forwarded` header is malformed", "{line}");
    }
}

#[tokio::test]
async fn an_absolute_request_target_follows_the_host() {
    let stack =
        TestStack::of::<Forwarded>(r#""192.0.2.1""#).over(async |request: Request| Response::new(Body::from(request.uri().to_string())));
    let mut request = request(Method::GET, "http://inner.test/a?b", "");
    request.headers_mut().insert("x-forwarded-host", HeaderValue::from_static("shop.test"));
    assert_eq!(stack.send(request).await.text(), "http://shop.test/a?b");
}

#[test]
fn what_is_no_network_is_refused() {
    assert!(TestStack::refusal::<Forwarded>(r#"["localhost"]"#)[0].contains("is not a network"));
    assert!(TestStack::refusal::<Forwarded>(r#"{"trust": "10.0.0.1", "header": "x-real-ip"}"#)[0].contains("x-forwarded"));
}

proptest! {
    /// The proxy adds 192.0.2.9 to whatever the client sent.
    #[test]
    fn no_client_can_pass_for_another(sent in r#"([ -~&&[^,]]|,|"|for=10\.0\.0\.7|\\){0,40}"#) {
        let trust = Trust::new(vec![Peer::try_from("10.0.0.0/8".to_owned()).unwrap()]);
        let honest = Some(("192.0.2.9".parse().unwrap(), None));
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_str(&format!("{sent}, 192.0.2.9")).unwrap());
        headers.insert("forwarded", HeaderValue::from_str(&format!("{sent}, for=192.0.2.9")).unwrap());
        prop_assert_eq!(x_forwarded::read(&headers, &trust).unwrap().client, honest);
        if let Ok(claim) = rfc7239::read(&headers, &trust) {
            prop_assert_eq!(claim.client, honest);
        }
    }
}

#[tokio::test]
async fn so_many_proxies_are_skipped_whatever_their_addresses_are() {
    for (proxies, chain, client) in [
        (1, "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        (2, "6.6.6.6, 203.0.113.7, 10.9.9.9", "203.0.113.7"),
        (3, "203.0.113.7, 10.9.9.9", "203.0.113.7"),
        (2, "6.6.6.6, unknown, 10.9.9.9", "10.9.9.9"),
    ] {
        let options = format!(r#"{{"proxies": {proxies}}}"#);
        let headers = [("x-forwarded-for", chain), ("x-forwarded-proto", "http, https"), ("x-forwarded-host", "evil.test")];
        let believed = seen(&options, &headers[..2]).await;
        assert!(believed.starts_with(&format!("{client} ")), "{proxies} {chain}: {believed}");
        let options = format!(r#"{{"proxies": {proxies}, "header": "forwarded"}}"#);
        let rfc = chain.split(", ").map(|node| format!("for={node}")).collect::<Vec<_>>().join(", ");
        let believed = seen(&options, &[("forwarded", &rfc), headers[2]]).await;
        assert!(believed.starts_with(&format!("{client} http ")) && !believed.contains("evil"), "{proxies} {rfc}: {believed}");
    }
    assert!(seen(r#"{"proxies": 1}"#, &[]).await.starts_with("10.0.0.1:"));
    assert!(TestStack::refusal::<Forwarded>(r#"{"proxies": 1, "trust": "10.0.0.0/8"}"#).join("").contains("cannot be combined"));
    assert!(TestStack::refusal::<Forwarded>(r#"{"proxies": 0}"#).join("").contains("nonzero"));
}

#[tokio::test]
async fn the_prefix_of_a_trusted_proxy_is_the_mount_of_the_app() {
    let mount = async |peer: [u8; 4], prefix: &'static str| {
        let stack = TestStack::of::<Forwarded>(X).over(async |request: Request| {
            let mount = request.extensions().get::<crate::Mount>();
            let text = mount.map(|mount| format!("{} {} {}", mount.prefix, mount.target, request.uri()));
            Response::new(Body::from(text.unwrap_or_else(|| "none".to_owned())))
        });
        let mut request = request(Method::GET, "/x?y", "");
        request.headers_mut().append("x-forwarded-prefix", HeaderValue::from_static(prefix));
        request.extensions_mut().get_mut::<ConnectionInfo>().unwrap().client = Some(peer.into());
        let response = stack.send(request).await;
        if response.status() == 200 { response.text() } else { response.status().as_u16().to_string() }
    };
    assert_eq!(mount([10, 0, 0, 1], "/app").await, "/app /app/x?y /x?y");
    assert_eq!(mount([10, 0, 0, 1], "/other, /app/").await, "/app /app/x?y /x?y");
    assert_eq!(mount([10, 0, 0, 1], "/").await, "none");
    assert_eq!(mount([10, 0, 0, 1], "//evil.example").await, "400");
    assert_eq!(mount([192, 0, 2, 1], "/app").await, "none");
}
