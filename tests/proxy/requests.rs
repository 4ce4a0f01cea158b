//! What upstreams receive: the request, without what belongs to the client's connection, and with what this hop knows (RFC 9110 section 7.6).

use super::support::{Proxy, Received, Upstream};

/// What the upstream gets of a request with these header lines.
async fn received(options: &str, request: &str) -> Received {
    let upstream = Upstream::saying("ok").await;
    let proxy = Proxy::start(&options.replace("UPSTREAM", &upstream.url()));
    let answer = proxy.exchange(request).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{answer:?} {:?}", proxy.stack.log());
    upstream.requests().remove(0)
}

/// The same with no options.
async fn plainly(request: &str) -> Received {
    received(r#""UPSTREAM""#, request).await
}

fn get(lines: &str) -> String {
    format!("GET /a?b HTTP/1.1\r\nHost: site.example\r\n{lines}Connection: close\r\n\r\n")
}

#[tokio::test]
async fn the_request_arrives_with_what_the_client_is_known_by() {
    let request = plainly(&get("Accept: x\r\nCookie: a=b\r\nAuthorization: Basic eA==\r\n")).await;
    assert_eq!(request.line(), "GET /a?b HTTP/1.1");
    for (name, value) in [
        ("host", "site.example"),
        ("accept", "x"),
        ("cookie", "a=b"),
        ("authorization", "Basic eA=="),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "site.example"),
        ("via", "1.1 ziggurat"),
    ] {
        assert_eq!(request.header(name), [value], "{name}: {}", request.head);
    }
    for name in ["connection", "transfer-encoding", "content-length", "te", "upgrade", "expect", "keep-alive"] {
        assert!(request.header(name).is_empty(), "{name}: {}", request.head);
    }
}

#[tokio::test]
async fn headers_of_the_clients_connection_end_here() {
    for (lines, gone) in [
        ("Keep-Alive: timeout=5\r\n", "keep-alive"),
        ("Proxy-Connection: keep-alive\r\n", "proxy-connection"),
        ("Proxy-Authorization: Basic eA==\r\n", "proxy-authorization"),
        ("Proxy-Authenticate: Basic\r\n", "proxy-authenticate"),
        ("TE: gzip\r\n", "te"),
        ("Upgrade: h2c\r\n", "upgrade"),
        ("HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n", "http2-settings"),
        ("Connection: x-secret\r\nX-Secret: 1\r\n", "x-secret"),
        ("Connection: \r\nConnection: x-secret\r\nX-Secret: 1\r\n", "x-secret"),
        ("Connection: a,, X-SECRET ,b\r\nX-Secret: 1\r\n", "x-secret"),
        ("X-Secret: 1\r\nX-Secret: 2\r\nConnection: x-secret\r\n", "x-secret"),
        ("Expect: 100-continue\r\n", "expect"),
        ("Trailer: x-t\r\n", "trailer"),
        ("X-Real-IP: 6.6.6.6\r\n", "x-real-ip"),
        ("Forwarded: for=6.6.6.6\r\n", "forwarded"),
        ("X-Forwarded-Prefix: /evil\r\n", "x-forwarded-prefix"),
        ("X-Forwarded-Server: evil\r\n", "x-forwarded-server"),
    ] {
        let request = plainly(&get(lines)).await;
        assert!(request.header(gone).is_empty(), "{lines}: {}", request.head);
    }
}

#[tokio::test]
async fn what_connection_names_is_neither_what_routes_nor_what_we_add() {
    let request = plainly(&get("Connection: close, x-forwarded-for, via, host\r\nX-Forwarded-For: 6.6.6.6\r\n")).await;
    assert_eq!(request.header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!((request.header("via"), request.header("host")), (vec!["1.1 ziggurat".to_owned()], vec!["site.example".to_owned()]));
    let request = plainly("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close, content-length\r\n\r\nbody").await;
    assert_eq!((request.header("content-length"), request.body.as_slice()), (vec!["4".to_owned()], &b"body"[..]));
}

#[tokio::test]
async fn claims_of_the_client_are_replaced_and_via_grows() {
    let request =
        plainly(&get("X-Forwarded-For: 6.6.6.6, 7.7.7.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nVia: 1.0 a, 1.1 b\r\n"))
            .await;
    assert_eq!(request.header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(
        (request.header("x-forwarded-proto"), request.header("x-forwarded-host")),
        (vec!["http".to_owned()], vec!["site.example".to_owned()])
    );
    assert_eq!(request.header("via"), ["1.0 a, 1.1 b", "1.1 ziggurat"]);
}

#[tokio::test]
async fn what_the_forwarded_layer_believes_is_told() {
    let upstream = Upstream::saying("ok").await;
    let proxy = Proxy::pipeline(&format!(
        r#"{{ "layers": [{{ "forwarded": {{ "trust": ["127.0.0.0/8"] }} }}], "app": {{ "proxy": "{}" }} }}"#,
        upstream.url()
    ));
    let lines = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n";
    assert_eq!(proxy.exchange(get(lines)).await.status, 200);
    let request = upstream.requests().remove(0);
    for (name, value) in
        [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.example"), ("host", "shop.example")]
    {
        assert_eq!(request.header(name), [value], "{name}: {}", request.head);
    }
}

#[tokio::test]
async fn the_host_and_the_claims_are_as_the_file_says() {
    let request = received(r#"{ "to": "UPSTREAM", "host": "upstream", "forward": "forwarded" }"#, &get("")).await;
    assert!(request.header("host")[0].starts_with("127.0.0.1:"), "{}", request.head);
    assert_eq!(request.header("forwarded"), ["for=127.0.0.1;proto=http;host=\"site.example\""]);
    assert!(request.header("x-forwarded-for").is_empty());
    let request =
        received(r#"{ "to": "UPSTREAM", "host": "app.internal:81", "forward": "none" }"#, &get("X-Forwarded-For: 6.6.6.6\r\n")).await;
    assert_eq!(request.header("host"), ["app.internal:81"]);
    assert!(request.header("x-forwarded-for").is_empty() && request.header("forwarded").is_empty());
}

#[tokio::test]
async fn paths_are_joined_and_a_mount_is_told() {
    let request = received(r#""UPSTREAM/v2/""#, &get("")).await;
    assert_eq!(request.line(), "GET /v2/a?b HTTP/1.1");
    let upstream = Upstream::saying("ok").await;
    let proxy = Proxy::pipeline(&format!(
        r#"{{ "app": {{ "routes": [{{ "mount": "/shop", "app": {{ "proxy": "{}/v2" }} }}] }} }}"#,
        upstream.url()
    ));
    assert_eq!(proxy.get("/shop/x%20y?q=%2F").await.status, 200);
    let request = upstream.requests().remove(0);
    assert_eq!(request.line(), "GET /v2/x%20y?q=%2F HTTP/1.1");
    assert_eq!(request.header("x-forwarded-prefix"), ["/shop"]);
}

#[tokio::test]
async fn bodies_arrive_as_they_were_framed_and_nothing_is_added_to_requests_without_one() {
    let chunked = |method: &str| {
        format!("{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
    };
    for method in ["POST", "PUT", "PATCH", "GET", "DELETE", "OPTIONS", "REPORT"] {
        let request = plainly(&chunked(method)).await;
        assert_eq!(request.header("transfer-encoding"), ["chunked"], "{method}");
        assert_eq!(String::from_utf8_lossy(&request.body), "4\r\nbody\r\n0\r\n\r\n", "{method}");
    }
    let request = plainly("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody").await;
    assert_eq!((request.header("content-length"), request.body.as_slice()), (vec!["4".to_owned()], &b"body"[..]));
    let request = plainly("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    assert_eq!(request.header("content-length"), ["0"]);
    for method in ["GET", "DELETE"] {
        let request = plainly(&format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        assert!(request.header("transfer-encoding").is_empty() && request.header("content-length").is_empty(), "{}", request.head);
    }
}

#[tokio::test]
async fn answers_lose_what_belongs_to_the_upstreams_connection() {
    let lines = "Connection: x-secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Kept: 1\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nServer: x\r\n";
    let upstream = Upstream::answering(format!("HTTP/1.1 200 Fine\r\n{lines}Content-Length: 2\r\n\r\nok")).await;
    let answer = Proxy::start(&format!("\"{}\"", upstream.url())).get("/").await;
    for name in ["x-secret", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert!(answer.header(name).is_empty(), "{name}: {}", answer.head);
    }
    assert_eq!(answer.header("set-cookie"), ["a=b", "c=d"]);
    assert_eq!((answer.header("x-kept"), answer.header("server")), (vec!["1".to_owned()], vec!["x".to_owned()]));
    assert!(answer.head.starts_with("HTTP/1.1 200 Fine"), "{}", answer.head);
}

#[tokio::test]
async fn a_head_answer_keeps_its_length_and_the_connection() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n").await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    for _ in 0..2 {
        let answer = proxy.exchange("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert_eq!((answer.status, answer.header("content-length"), answer.body.as_str()), (200, vec!["5000".to_owned()], ""));
    }
    assert!(upstream.requests().iter().all(|request| request.connection == 0));
}

#[tokio::test]
async fn a_request_that_goes_in_circles_is_ended() {
    let upstream = Upstream::saying("ok").await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let via = ["1.1 ziggurat"; 10].join(", ");
    assert_eq!(proxy.exchange(get(&format!("Via: {via}\r\n"))).await.status, 508);
    assert!(upstream.requests().is_empty());
    // The real thing: it proxies to itself.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let listeners = ziggurat::server::Listener::bind(&address.to_string().parse().unwrap(), std::path::Path::new("/")).unwrap();
    let circle = ziggurat::Ziggurat::new().test().pipeline(&format!(r#"{{ "app": {{ "proxy": "http://{address}" }} }}"#));
    let served = circle.clone();
    let app = tower::service_fn(move |request| {
        let stack = served.clone();
        async move { Ok::<_, std::convert::Infallible>(stack.call(request).await) }
    });
    let next = ziggurat_middleware::Next::new("proxy", app);
    let _running = ziggurat::server::Server::start(listeners, next, &ziggurat::server::Options::default()).unwrap();
    assert_eq!(circle.get("/").await.status(), 508);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let octets = "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n";
    let upstream = Upstream::answering(octets).await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let mut client = proxy.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: x-up\r\nTransfer-Encoding: chunked\r\nConnection: close, te\r\n\r\n4\r\nbody\r\n0\r\nx-up: 1\r\n\r\n")
        .await;
    let answer = String::from_utf8(client.read_to_end().await).unwrap();
    assert!(answer.ends_with("0\r\nx-sum: 1\r\n\r\n"), "{answer}");
    let request = upstream.requests().remove(0);
    assert_eq!(String::from_utf8_lossy(&request.body), "4\r\nbody\r\n0\r\nx-up: 1\r\n\r\n");
    assert_eq!((request.header("te"), request.header("connection")), (vec!["trailers".to_owned()], vec!["te".to_owned()]));
}
