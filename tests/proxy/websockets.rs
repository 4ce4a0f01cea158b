//! WebSockets between clients and upstreams of either version of HTTP (RFC 6455, RFC 8441).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use h2::ext::Protocol;
use http::{HeaderMap, Method, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response as Accepted};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Message, protocol};

use super::black_box::Program;
use super::h2_websocket::{Connection, Stream};
use super::support::{PATIENCE, Proxy, Upstream};

/// The heads of requests that reached an upstream.
pub(crate) type Heads = Arc<Mutex<Vec<HeaderMap>>>;

/// An upstream over HTTP/1.1 that echoes messages.
#[allow(clippy::result_large_err)] // tungstenite's callback.
pub(crate) async fn http1() -> (SocketAddr, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Heads::default());
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let note = |request: &Request, response: Accepted| {
                    seen.lock().unwrap().push(request.headers().clone());
                    Ok(response)
                };
                if let Ok(socket) = tokio_tungstenite::accept_hdr_async(socket, note).await {
                    echo(socket).await;
                }
            });
        }
    });
    (address, heads)
}

/// Echoes messages until the other side closes.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// An upstream over HTTP/2 by prior knowledge that echoes messages, if it takes WebSockets.
async fn http2(takes_websockets: bool) -> (SocketAddr, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Heads::default());
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                if takes_websockets {
                    builder.enable_connect_protocol();
                }
                let mut connection = builder.handshake(socket).await.unwrap();
                while let Some(Ok((request, mut answer))) = connection.accept().await {
                    let is_websocket = request.extensions().get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
                    seen.lock().unwrap().push(request.headers().clone());
                    if !is_websocket {
                        answer.send_response(Response::new(()), true).unwrap();
                    } else if request.uri().path() == "/forbidden" {
                        answer.send_response(Response::builder().status(403).body(()).unwrap(), true).unwrap();
                    } else {
                        assert_eq!(request.method(), Method::CONNECT);
                        let send = answer.send_response(Response::new(()), false).unwrap();
                        let stream = Stream::new(send, request.into_body());
                        tokio::spawn(
                            async move { echo(WebSocketStream::from_raw_socket(stream, protocol::Role::Server, None).await).await },
                        );
                    }
                }
            });
        }
    });
    (address, heads)
}

/// Sends messages of every kind and reads their echo.
pub(crate) async fn talk<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, large: usize) {
    for message in [Message::text("hello"), Message::binary(vec![7; large]), Message::text("")] {
        socket.send(message.clone()).await.unwrap();
        assert!(next(socket).await == message);
    }
    for (octets, opcode, is_last) in [("frag", Data::Text, false), ("men", Data::Continue, false), ("ts", Data::Continue, true)] {
        socket.send(Message::Frame(Frame::message(octets, OpCode::Data(opcode), is_last))).await.unwrap();
    }
    assert_eq!(next(socket).await, Message::text("fragments"));
    socket.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(next(socket).await, Message::Pong("x".into()));
}

pub(crate) async fn next<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> Message {
    timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
}

async fn http1_client(proxy: &Proxy, path: &str) -> WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>> {
    let opened = tokio_tungstenite::connect_async(format!("ws://{}{path}", proxy.address)).await;
    opened.unwrap_or_else(|error| panic!("{error} {:?}", proxy.logged(""))).0
}

#[tokio::test]
async fn a_websocket_over_http2_passes_the_whole_stack_to_an_upstream_over_http1() {
    let (upstream, heads) = http1().await;
    let program = Program::start(
        &format!(
            r#"{{ "listen": "127.0.0.1:0",
                 "layers": ["request_id", {{ "access_log": {{ "format": "json", "to": "access.log" }} }}, "compress", "security_headers"],
                 "app": {{ "routes": [{{ "mount": "/live", "app": {{ "proxy": "http://{upstream}" }} }}, {{ "app": {{ "respond": 404 }} }}] }} }}"#
        ),
        &[],
    );
    let client = Connection::open(program.address()).await;
    let (response, mut socket) = client.websocket("/live/chat?room=1").await.unwrap();
    for (name, is_there) in [("x-request-id", true), ("x-content-type-options", true), ("sec-websocket-accept", false), ("upgrade", false)]
    {
        assert_eq!(response.headers().contains_key(name), is_there, "{name}: {response:?}");
    }
    talk(&mut socket, 1 << 20).await;
    let head = heads.lock().unwrap().remove(0);
    assert_eq!(
        (&head["host"], &head["via"], &head["origin"]),
        (&"test".parse().unwrap(), &"2 ziggurat".parse().unwrap(), &"http://test".parse().unwrap())
    );
    socket.close(Some(protocol::CloseFrame { code: 4001.into(), reason: "".into() })).await.unwrap();
    while let Some(Ok(_)) = timeout(PATIENCE, socket.next()).await.unwrap() {}
    drop(socket);
    let log = program.folder().join("access.log");
    let line = timeout(PATIENCE, async {
        loop {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(line) = text.lines().find(|line| line.contains("/live/chat")) {
                return serde_json::from_str::<serde_json::Value>(line).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let line = line.await.unwrap();
    assert_eq!(
        ["method", "protocol", "status", "close_code", "query"].map(|field| line[field].clone()),
        ["GET".into(), "HTTP/2.0".into(), 101.into(), 4001.into(), serde_json::Value::from("room=1")]
    );
    assert!(line["received"].as_u64().unwrap() > 1 << 20 && line["bytes"].as_u64().unwrap() > 1 << 20, "{line}");
    assert_eq!(client.websocket("/nowhere").await.unwrap_err().status(), 404);
}

#[tokio::test]
async fn versions_of_http_may_differ_on_both_sides() {
    let (upstream, heads) = http2(true).await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "http://{upstream}", "http": "2" }}"#));
    // tungstenite checks `Sec-WebSocket-Accept`.
    let mut old = http1_client(&proxy, "/socket").await;
    let (_, mut new) = Connection::open(proxy.address).await.websocket("/socket").await.unwrap();
    for _ in 0..2 {
        talk(&mut old, 100_000).await;
        talk(&mut new, 100_000).await;
    }
    for head in heads.lock().unwrap().iter().filter(|head| head.contains_key("sec-websocket-version")) {
        for name in ["connection", "upgrade", "sec-websocket-key"] {
            assert!(!head.contains_key(name), "{head:?}");
        }
    }
    let status = proxy.stack.lifecycle().status().remove(0).1;
    assert_eq!(status["endpoints"][0]["tunnels"], 2);
    let client = Connection::open(proxy.address).await;
    assert_eq!(client.websocket("/forbidden").await.unwrap_err().status(), 403);
}

#[tokio::test]
async fn an_upstream_that_takes_no_websockets_over_http2_is_502_and_the_log_says_why() {
    let (upstream, _) = http2(false).await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "http://{upstream}", "http": "2" }}"#));
    let client = Connection::open(proxy.address).await;
    assert_eq!(client.websocket("/").await.unwrap_err().status(), 502);
    let error = tokio_tungstenite::connect_async(format!("ws://{}/", proxy.address)).await.unwrap_err();
    assert!(error.to_string().contains("502"), "{error}");
    assert!(!proxy.logged("SETTINGS_ENABLE_CONNECT_PROTOCOL").is_empty(), "{:?}", proxy.logged(""));
    assert_eq!(proxy.get("/").await.status, 200);
}

#[tokio::test]
async fn the_answer_of_an_upstream_over_http1_has_to_answer_the_key() {
    for (octets, status) in [
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n", 502),
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 502),
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\na page", 502),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
    ] {
        let upstream = Upstream::answering(octets).await;
        let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "retry": false, "eject": false }}"#, upstream.url()));
        let client = Connection::open(proxy.address).await;
        assert_eq!(client.websocket("/").await.unwrap_err().status(), status, "{octets}");
        // A client over HTTP/1.1 has chosen its key itself, and judges the answer.
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: mine\r\n\r\n").await;
        let head = client.read_until("\r\n\r\n").await;
        assert!(octets.starts_with(head.lines().next().unwrap()), "{head}");
        assert_eq!(upstream.requests().last().unwrap().header("sec-websocket-key"), ["mine"]);
    }
}

#[tokio::test]
async fn each_attempt_has_a_key_of_its_own() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some(request) = connection.request().await {
            match request.header("sec-websocket-key").first() {
                None => connection.send("HTTP/1.1 204 No Content\r\n\r\n").await,
                Some(_) if connection.number < 2 => return,
                Some(key) => {
                    let accept = derive_accept_key(key.as_bytes());
                    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept:";
                    connection.send(format!("{head} {accept}\r\n\r\n\u{81}")).await;
                    std::future::pending::<()>().await;
                }
            }
        }
    })
    .await;
    let options = r#""eject": false, "retry": { "attempts": 3, "on": ["reset"] }"#;
    let proxy = Proxy::start(&format!(r#"{{ "to": "{}", {options} }}"#, upstream.url()));
    let client = Connection::open(proxy.address).await;
    assert_eq!(client.websocket("/").await.map(drop).map_err(|response| response.status()), Ok(()));
    let keys: Vec<_> = upstream.requests().iter().flat_map(|request| request.header("sec-websocket-key")).collect();
    assert!(keys.len() >= 2 && keys.iter().all(|key| keys.iter().filter(|other| *other == key).count() == 1), "{keys:?}");
}

#[tokio::test]
async fn a_silent_websocket_over_http2_ends_with_close_frames_on_both_sides() {
    let (upstream, _) = http1().await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "http://{upstream}", "idle": "300ms" }}"#));
    let (_, mut socket) = Connection::open(proxy.address).await.websocket("/").await.unwrap();
    let Message::Close(Some(frame)) = next(&mut socket).await else { panic!() };
    assert_eq!(u16::from(frame.code), 1001);
}
