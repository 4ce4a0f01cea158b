//! Upgraded connections (RFC 9110 section 7.8): WebSockets and other protocols.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message as Sent, WebSocketUpgrade};
use axum::routing::any;
use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use ziggurat::pipeline::Pipeline;
use ziggurat_middleware::{Body, Lifecycle, Request, Response, TunnelIdle};

use crate::http2::{connect, get};
use crate::support::{Client, PATIENCE, Server, saying};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\n";

fn switching(protocol: &str) -> Response {
    http::Response::builder().status(101).header("upgrade", protocol).body(Body::empty()).unwrap()
}

/// Accepts every upgrade and echoes octets until the client closes its side; other requests get `hello`.
async fn echo(mut request: Request) -> Response {
    if !request.headers().contains_key("upgrade") {
        return Response::new(Body::from("hello"));
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        // An error is the end that the server has set.
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        let _ = writer.shutdown().await;
    });
    switching("echo")
}

/// Accepts an upgrade and never uses the connection, which is kept in what is returned.
fn silent() -> (impl Fn(Request) -> futures_util::future::Ready<Response> + Clone + Send + Sync + 'static, Kept) {
    let (keep, kept) = mpsc::unbounded_channel();
    let app = move |mut request: Request| {
        let (upgraded, keep) = (hyper::upgrade::on(&mut request), keep.clone());
        tokio::spawn(async move { keep.send(upgraded.await.unwrap()) });
        futures_util::future::ready(switching("echo"))
    };
    (app, kept)
}

type Kept = mpsc::UnboundedReceiver<hyper::upgrade::Upgraded>;

async fn upgraded(server: &Server) -> Client {
    let mut client = server.connect().await;
    client.send(UPGRADE).await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with(ACCEPTED), "{head}");
    client
}

/// Waits until so many connections are upgraded.
async fn tunnels(traffic: &ziggurat::server::Traffic, number: usize) {
    timeout(PATIENCE, async {
        while traffic.tunnels() != number {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn octets_of_any_kind_pass_both_ways_until_both_sides_have_closed() {
    let server = Server::start("{}", echo);
    let traffic = server.traffic();
    let mut client = server.connect().await;
    client.send(GET).await;
    client.read_until("hello").await;
    client.send(UPGRADE).await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with(ACCEPTED) && head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: echo\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    // A request line that the guard would refuse, and all octets.
    let octets: Vec<u8> = b"GET  nonsense\r\n\r\n".iter().copied().chain((0..=255).cycle().take(1 << 20)).collect();
    let (mut reader, mut writer) = client.0.into_split();
    let sent = octets.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
        writer
    });
    let mut received = Vec::new();
    timeout(PATIENCE, reader.read_to_end(&mut received)).await.unwrap().unwrap();
    assert!(received == octets, "{} of {} octets", received.len(), octets.len());
    drop(writing.await.unwrap());
    tunnels(&traffic, 0).await;
    assert_eq!(server.drained().await.cut, 0);
}

#[tokio::test]
async fn octets_that_come_with_the_request_belong_to_the_new_protocol() {
    let server = Server::start("{}", echo);
    for size in [usize::MAX, 1] {
        let mut client = server.connect().await;
        client.0.set_nodelay(true).unwrap();
        for piece in format!("{UPGRADE}{UPGRADE}at once").as_bytes().chunks(size.min(1_000)) {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        client.0.shutdown().await.unwrap();
        let answer = client.read_to_end().await;
        assert!(answer.starts_with(ACCEPTED) && answer.ends_with(&format!("\r\n\r\n{UPGRADE}at once")), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 101").count(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_declined_upgrade_is_an_ordinary_request() {
    let server = Server::hello("{}");
    let mut client = server.connect().await;
    // The second request is held back until the first has its response.
    client.send(format!("{UPGRADE}{GET}{UPGRADE}")).await;
    for _ in 0..3 {
        assert!(client.read_until("hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\n\r\nmore than was asked for").await;
    assert!(client.read_to_end().await.ends_with("hello"));
    // What is behind it is judged like any request.
    let mut client = server.connect().await;
    client.send(format!("{UPGRADE}nonsense\r\n\r\n")).await;
    let answers = client.read_to_end().await;
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n") && answers.contains("HTTP/1.1 400 Bad Request\r\n"), "{answers}");
}

#[tokio::test]
async fn a_101_that_was_not_asked_for_is_answered_500() {
    let server = Server::start("{}", |request: Request| async move { switching(request.uri().path().trim_start_matches('/')) });
    for (target, headers) in [
        ("/echo", ""),
        ("/echo", "Upgrade: echo\r\n"),
        ("/echo", "Connection: upgrade\r\n"),
        ("/other", "Connection: upgrade\r\nUpgrade: echo\r\n"),
        ("/echo,other", "Connection: upgrade\r\nUpgrade: echo\r\n"),
        ("/echo", "Connection: upgrade\r\nUpgrade: echo\r\nContent-Length: 1\r\n"),
    ] {
        let mut client = server.connect().await;
        let body = if headers.contains("Length") { "x" } else { "" };
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}")).await;
        assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 500 "), "{target} {headers}");
    }
    let mut client = server.connect().await;
    client.send("GET /echo HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
    assert!(client.read_to_end().await.starts_with("HTTP/1.0 500 "));
    let (mut sender, _) = connect(&server).await;
    assert_eq!(sender.send_request(get("http://a/echo")).await.unwrap().status(), 500);
}

#[tokio::test]
async fn connect_is_not_served() {
    let server = Server::start("{}", echo);
    let mut client = server.connect().await;
    client.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").await;
    assert!(client.read_to_end().await.starts_with("HTTP/1.1 501 "));
}

#[tokio::test]
async fn an_upgraded_connection_counts_as_open_and_is_not_idle() {
    let server = Server::start(r#"{"max_connections": 1}"#, echo);
    let traffic = server.traffic();
    let mut client = upgraded(&server).await;
    tunnels(&traffic, 1).await;
    assert_eq!(traffic.open(), 1);
    let mut other = server.connect().await;
    other.send(GET).await;
    client.send("still here").await;
    client.read_until("still here").await;
    drop(client);
    other.read_until("hello").await;
    tunnels(&traffic, 0).await;
}

#[tokio::test]
async fn a_connection_that_carries_nothing_is_closed_in_time_whatever_the_stack_does() {
    let (app, mut kept) = silent();
    let server = Server::start(r#"{"keep_alive": "300ms"}"#, app);
    let mut client = upgraded(&server).await;
    let mut held = timeout(PATIENCE, kept.recv()).await.unwrap().unwrap();
    let begin = Instant::now();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        TokioIo::new(&mut held).write_all(b"x").await.unwrap();
    }
    assert_eq!(client.read_to_end().await, "xxxx");
    assert!(begin.elapsed() >= Duration::from_millis(700), "{:?}", begin.elapsed());
    let error = TokioIo::new(held).read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn the_app_that_accepts_an_upgrade_says_how_long_the_connection_may_be_silent() {
    let (app, mut kept) = silent();
    let app = move |request| {
        let response = app(request);
        response.map(|mut response| {
            response.extensions_mut().insert(TunnelIdle(Duration::from_secs(1)));
            response
        })
    };
    let server = Server::start(r#"{"keep_alive": "100ms"}"#, app);
    let begin = Instant::now();
    let mut client = upgraded(&server).await;
    let _held = timeout(PATIENCE, kept.recv()).await.unwrap().unwrap();
    assert_eq!(client.read_to_end().await, "");
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_generation_until_it_ends() {
    let mut server = Server::start("{}", echo);
    let mut client = upgraded(&server).await;
    let mut retiring = server.replace("{}", saying("new")).await;
    let mut other = server.connect().await;
    other.send(GET).await;
    other.read_until("new").await;
    client.send("still here").await;
    client.read_until("still here").await;
    assert!((&mut retiring).now_or_never().is_none());
    client.0.shutdown().await.unwrap();
    assert_eq!(client.read_to_end().await, "");
    timeout(PATIENCE, retiring).await.unwrap();
}

#[tokio::test]
async fn connections_of_a_generation_that_is_cut_off_are_closed_and_others_stay() {
    let (app, mut kept) = silent();
    let mut server = Server::start("{}", app);
    let mut silent = upgraded(&server).await;
    let held = timeout(PATIENCE, kept.recv()).await.unwrap().unwrap();
    let retiring = server.replace("{}", crate::support::next(echo)).await;
    let mut newer = upgraded(&server).await;
    retiring.cut();
    timeout(PATIENCE, retiring).await.unwrap();
    assert_eq!(silent.read_to_end().await, "");
    newer.send("still here").await;
    newer.read_until("still here").await;
    drop(held);
}

#[tokio::test]
async fn the_stack_may_send_its_last_octets_when_its_generation_is_cut_off() {
    let mut server = Server::start("{}", async |mut request: Request| {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgraded.await.unwrap());
            assert_eq!(stream.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
            stream.write_all(b"going away").await.unwrap();
        });
        switching("echo")
    });
    let mut client = upgraded(&server).await;
    let retiring = server.replace("{}", crate::support::next(echo)).await;
    retiring.cut();
    assert_eq!(client.read_to_end().await, "going away");
    timeout(PATIENCE, retiring).await.unwrap();
}

#[tokio::test]
async fn upgraded_connections_end_at_the_end_of_the_drain() {
    let mut server = Server::start(r#"{"drain": "200ms"}"#, echo);
    let traffic = server.traffic();
    let mut client = upgraded(&server).await;
    server.stop();
    client.send("draining").await;
    client.read_until("draining").await;
    assert_eq!(server.drained().await.cut, 1);
    assert_eq!(client.read_to_end().await, "");
    assert_eq!(traffic.tunnels(), 0);
}

#[tokio::test]
async fn a_101_during_the_drain_is_no_close() {
    let (entered, mut entries) = mpsc::unbounded_channel();
    let (release, gate) = tokio::sync::watch::channel(());
    let mut server = Server::start(r#"{"drain": "5s"}"#, move |request| {
        let (entered, mut gate) = (entered.clone(), gate.clone());
        async move {
            entered.send(()).unwrap();
            gate.changed().await.unwrap();
            echo(request).await
        }
    });
    let mut client = server.connect().await;
    client.send(UPGRADE).await;
    entries.recv().await.unwrap();
    server.stop();
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.send_replace(());
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with(ACCEPTED) && !head.contains("close"), "{head}");
    client.send("hello").await;
    client.read_until("hello").await;
    client.0.shutdown().await.unwrap();
    client.read_to_end().await;
    assert_eq!(server.drained().await.cut, 0);
}

/// An axum router that echoes WebSocket messages.
pub fn websockets() -> Router {
    let handler = async |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async |mut socket| {
            while let Some(Ok(message @ (Sent::Text(_) | Sent::Binary(_)))) = socket.recv().await {
                let _ = socket.send(message).await;
            }
        })
    };
    Router::new().route("/socket", any(handler))
}

#[tokio::test]
async fn a_router_serves_websockets_below_layers_that_change_responses() {
    let folder = tempfile::tempdir().unwrap();
    let registry = ziggurat::builtin().router("sockets", websockets());
    let text = r#"{
        "layers": ["request_id", { "access_log": { "format": "%(s)s %(U)s", "to": "access.log" } }, { "timeout": "10s" }, "compress", "security_headers",
                   { "body_limit": "1KiB" }, { "headers": { "response": { "set": { "x-layer": "seen" } } } }],
        "app": { "routes": [{ "mount": "/live", "app": { "sockets": {} } }, { "app": { "respond": 404 } }] }
    }"#;
    let pipeline =
        Pipeline::from_text("pipeline.json", text, folder.path(), &registry, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    let lifecycle = Lifecycle::default();
    let server = Server::start_stack("{}", pipeline.build(&lifecycle).unwrap_or_else(|report| panic!("{report}")));
    let url = format!("ws://{}/live/socket", server.address);
    let (mut socket, response) = tokio_tungstenite::client_async(url, server.connect().await.0).await.unwrap();
    assert_eq!(response.headers()["x-layer"], "seen");
    for text in ["one", &"long ".repeat(10_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap(), Message::text(text));
    }
    // The line of a tunnel is written at its end.
    let log = folder.path().join("access.log");
    let mut client = server.connect().await;
    client.send("GET /other HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.read_until("Not Found").await;
    while lines(&log).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(lines(&log), ["404 /other"]);
    socket.close(None).await.unwrap();
    while timeout(PATIENCE, socket.next()).await.unwrap().is_some() {}
    assert_eq!(server.drained().await.cut, 0);
    lifecycle.retire().await;
    lifecycle.shutdown();
    assert_eq!(lines(&log), ["404 /other", "101 /live/socket"]);
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}
