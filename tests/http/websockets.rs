//! WebSockets over HTTP/2 (RFC 8441): what the stack sees of them, and what bounds them.

use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use ziggurat::pipeline::Pipeline;
use ziggurat_middleware::{Body, Lifecycle, Request, Response, Upgrade};

use crate::h2_websocket::{Connection, ended};
use crate::support::{Noted, PATIENCE, Record, Server};

/// The response that accepts this request.
fn accepting(request: &Request) -> http::response::Builder {
    let accept = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
    http::Response::builder().status(101).header("upgrade", "websocket").header("sec-websocket-accept", accept)
}

/// Accepts upgrades and echoes octets. Other requests get `hello`.
async fn echo(mut request: Request) -> Response {
    if request.extensions().get::<Upgrade>().is_none() {
        return Response::new(Body::from("hello"));
    }
    let response = accepting(&request).header("sec-websocket-protocol", "chat").body(Body::empty()).unwrap();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        let _ = writer.shutdown().await;
    });
    response
}

/// Accepts upgrades and keeps what it gets. The body of the response says when it is dropped.
fn silent() -> (impl Fn(Request) -> futures_util::future::Ready<Response> + Clone + Send + Sync + 'static, Kept, mpsc::UnboundedReceiver<()>)
{
    let (keep, kept) = mpsc::unbounded_channel();
    let (dropped, drops) = mpsc::unbounded_channel();
    let app = move |mut request: Request| {
        if request.extensions().get::<Upgrade>().is_none() {
            return futures_util::future::ready(Response::new(Body::empty()));
        }
        let (upgraded, keep, noted) = (hyper::upgrade::on(&mut request), keep.clone(), Noted(dropped.clone()));
        tokio::spawn(async move { keep.send(upgraded.await.unwrap()) });
        let frames = futures_util::stream::poll_fn(move |_| {
            let _ = &noted;
            std::task::Poll::<Option<Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>>>::Pending
        });
        let body = Body::new(http_body_util::StreamBody::new(frames));
        futures_util::future::ready(accepting(&request).body(body).unwrap())
    };
    (app, kept, drops)
}

type Kept = mpsc::UnboundedReceiver<hyper::upgrade::Upgraded>;

#[tokio::test]
async fn the_stack_sees_an_upgrade_as_over_http1_and_the_client_a_200() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let server = Server::start("{}", move |request: Request| {
        if let Some(upgrade) = request.extensions().get::<Upgrade>() {
            let facts = (upgrade.protocols().collect::<Vec<_>>().join(","), request.extensions().get::<OnUpgrade>().is_some());
            seen.send((request.method().clone(), request.uri().clone(), request.headers().clone(), request.version(), facts)).unwrap();
        }
        echo(request)
    });
    let client = Connection::open(server.address).await;
    let (response, mut socket) = client.websocket("/chat?room=1").await.unwrap();
    let headers = response.headers();
    assert_eq!(headers["sec-websocket-protocol"], "chat");
    for name in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
        assert!(!headers.contains_key(name), "{headers:?}");
    }
    let (method, uri, headers, version, facts) = requests.recv().await.unwrap();
    assert_eq!((method.as_str(), uri.to_string().as_str(), version), ("GET", "/chat?room=1", http::Version::HTTP_2));
    assert_eq!((headers["connection"].as_bytes(), headers["upgrade"].as_bytes()), (&b"Upgrade"[..], &b"websocket"[..]));
    assert_eq!((headers["host"].as_bytes(), headers["sec-websocket-version"].as_bytes()), (&b"test"[..], &b"13"[..]));
    assert_eq!(facts, ("websocket".to_owned(), true));
    // The app echoes frames as they are, so they come back masked: only raw octets are compared here.
    let stream = socket.get_mut();
    for octets in [vec![b'x'; 3], vec![7; 1 << 20]] {
        let mut back = vec![0; octets.len()];
        let (mut reader, mut writer) = tokio::io::split(&mut *stream);
        let (written, read) = tokio::join!(writer.write_all(&octets), timeout(PATIENCE, reader.read_exact(&mut back)));
        written.unwrap();
        read.unwrap().unwrap();
        assert!(back == octets);
    }
    assert_eq!(server.traffic().tunnels(), 1);
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap(), 0);
    let traffic = server.traffic();
    timeout(PATIENCE, async {
        while traffic.tunnels() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(server.drained().await.cut, 0);
}

#[tokio::test]
async fn keys_differ_and_one_of_the_client_does_not_count() {
    let (seen, mut keys) = mpsc::unbounded_channel();
    let server = Server::start("{}", move |request: Request| {
        if request.extensions().get::<Upgrade>().is_some() {
            seen.send(request.headers().get_all("sec-websocket-key").iter().cloned().collect::<Vec<_>>()).unwrap();
        }
        echo(request)
    });
    let client = Connection::open(server.address).await;
    for _ in 0..2 {
        let (response, _send) = client.connect("/", "websocket", &[("sec-websocket-key", "mine")]).await;
        assert_eq!(response.status(), 200);
    }
    let (one, other) = (keys.recv().await.unwrap(), keys.recv().await.unwrap());
    assert!(one.len() == 1 && other.len() == 1 && one != other && one[0] != "mine", "{one:?} {other:?}");
}

#[tokio::test]
async fn other_protocols_and_plain_connects_are_not_served() {
    let record = Record::default();
    let server = Server::start("{}", record.app());
    let client = Connection::open(server.address).await;
    let before = record.requests().len();
    for protocol in ["connect-udp", "WebSocket", ""] {
        let (response, _send) = client.connect("/", protocol, &[]).await;
        assert_eq!(response.status(), 501, "{protocol}");
    }
    let plain = http::Request::builder().method("CONNECT").uri("test:80").body(()).unwrap();
    let mut sender = client.0.clone().ready().await.unwrap();
    let (response, _send) = sender.send_request(plain, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 501);
    assert_eq!(record.requests().len(), before);
    // The connection goes on.
    assert_eq!(client.connect("/", "other", &[]).await.0.status(), 501);
    // A tunnel has no body. hyper ends the connection of a client that announces one.
    let sized = http::Request::builder().method("CONNECT").uri("http://test/").header("content-length", "5");
    let sized = sized.extension(h2::ext::Protocol::from_static("websocket")).body(()).unwrap();
    let mut sender = client.0.clone().ready().await.unwrap();
    let (response, _send) = sender.send_request(sized, false).unwrap();
    assert!(response.await.is_err());
    assert_eq!(record.requests().len(), before);
}

#[tokio::test]
async fn only_a_101_that_answers_the_key_opens_a_websocket() {
    let server = Server::start("{}", |request: Request| async move {
        let accepted = || accepting(&request);
        match request.uri().path() {
            "/wrong" => {
                http::Response::builder().status(101).header("upgrade", "websocket").header("sec-websocket-accept", "x").body(Body::empty())
            }
            "/missing" => http::Response::builder().status(101).header("upgrade", "websocket").body(Body::empty()),
            "/other" => accepted().header("upgrade", "h2c").body(Body::empty()),
            "/forbidden" => http::Response::builder().status(403).body(Body::from("members only")),
            "/moved" => http::Response::builder().status(307).header("location", "/there").body(Body::empty()),
            _ => Ok(Response::new(Body::from("a page"))),
        }
        .unwrap()
    });
    let client = Connection::open(server.address).await;
    for (path, status) in [("/wrong", 500), ("/missing", 500), ("/other", 500), ("/forbidden", 403), ("/moved", 307), ("/page", 501)] {
        let (response, _send) = client.connect(path, "websocket", &[]).await;
        assert_eq!(response.status(), status, "{path}");
        let mut body = response.into_body();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        assert!(body.is_end_stream(), "{path}");
    }
}

#[tokio::test]
async fn a_silent_stream_ends_in_time_whatever_the_stack_does_and_its_connection_goes_on() {
    let (app, mut kept, mut drops) = silent();
    let server = Server::start(r#"{"keep_alive": "300ms"}"#, app);
    let client = Connection::open(server.address).await;
    let begin = Instant::now();
    let (response, send) = client.connect("/", "websocket", &[]).await;
    let mut held = timeout(PATIENCE, kept.recv()).await.unwrap().unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        TokioIo::new(&mut held).write_all(b"x").await.unwrap();
    }
    assert!(drops.try_recv().is_err());
    assert_eq!(ended(response.into_body(), send).await, b"xxxx");
    assert!(begin.elapsed() >= Duration::from_millis(700), "{:?}", begin.elapsed());
    timeout(PATIENCE, drops.recv()).await.unwrap().unwrap();
    let error = TokioIo::new(held).read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn streams_keep_their_generation_until_they_end_or_it_is_cut_off() {
    let (app, mut kept, mut drops) = silent();
    let mut server = Server::start("{}", app);
    let client = Connection::open(server.address).await;
    let (response, send) = client.connect("/", "websocket", &[]).await;
    let held = timeout(PATIENCE, kept.recv()).await.unwrap().unwrap();
    let mut retiring = server.replace("{}", crate::support::next(echo)).await;
    assert!((&mut retiring).now_or_never().is_none());
    let (_, mut newer) = client.websocket("/").await.unwrap();
    retiring.cut();
    timeout(PATIENCE, retiring).await.unwrap();
    timeout(PATIENCE, drops.recv()).await.unwrap().unwrap();
    assert_eq!(ended(response.into_body(), send).await, b"");
    let stream = newer.get_mut();
    stream.write_all(b"still here").await.unwrap();
    stream.read_exact(&mut [0; 10]).await.unwrap();
    drop(held);
}

#[tokio::test]
async fn streams_end_at_the_end_of_the_drain_and_may_send_their_last_octets() {
    let mut server = Server::start(r#"{"drain": "200ms"}"#, async |mut request: Request| {
        if request.extensions().get::<Upgrade>().is_none() {
            return Response::new(Body::empty());
        }
        let response = accepting(&request).body(Body::empty()).unwrap();
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgraded.await.unwrap());
            assert_eq!(stream.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
            stream.write_all(b"going away").await.unwrap();
        });
        response
    });
    let client = Connection::open(server.address).await;
    let (response, send) = client.connect("/", "websocket", &[]).await;
    let traffic = server.traffic();
    server.stop();
    assert_eq!(ended(response.into_body(), send).await, b"going away");
    assert_eq!(server.drained().await.cut, 1);
    assert_eq!(traffic.tunnels(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_streams() {
    let server = Server::start("{}", echo);
    let traffic = server.traffic();
    let client = Connection::open(server.address).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(client.connect("/", "websocket", &[]).await);
    }
    let count = |number| {
        let traffic = &traffic;
        timeout(PATIENCE, async move {
            while traffic.tunnels() != number {
                tokio::task::yield_now().await;
            }
        })
    };
    count(3).await.unwrap();
    sockets.pop();
    count(2).await.unwrap();
    drop((sockets, client));
    count(0).await.unwrap();
    assert_eq!(server.drained().await.cut, 0);
}

#[tokio::test]
async fn a_router_serves_websockets_of_both_versions_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let registry = ziggurat::builtin().router("sockets", crate::upgrades::websockets());
    let text = r#"{
        "layers": ["request_id", "compress", "security_headers"],
        "app": { "routes": [{ "mount": "/live", "app": { "sockets": {} } }, { "app": { "respond": 404 } }] }
    }"#;
    let pipeline =
        Pipeline::from_text("pipeline.json", text, folder.path(), &registry, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    let server = Server::start_stack("{}", pipeline.build(&Lifecycle::default()).unwrap_or_else(|report| panic!("{report}")));
    let (response, mut socket) = Connection::open(server.address).await.websocket("/live/socket").await.unwrap();
    assert!(response.headers().contains_key("x-request-id") && response.headers().contains_key("x-content-type-options"));
    for text in ["one", &"long ".repeat(10_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap(), Message::text(text));
    }
}
