//! Replacing the stack, the options and the listeners while the server serves.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use ziggurat::server::{self, Listen, Listener};
use ziggurat_middleware::{Body, Next, Request, Response};

use crate::http2::{connect, get, text};
use crate::support::{Client, PATIENCE, Server, bind, next, saying};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const CLOSE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

/// A stack whose response body is what is sent here.
fn streaming() -> (mpsc::UnboundedSender<&'static str>, Next) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let app = move |_: Request| {
        let mut pieces: mpsc::UnboundedReceiver<&'static str> = receiver.lock().unwrap().take().unwrap();
        let frames = stream::poll_fn(move |cx| {
            pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(piece)))))
        });
        async move { Response::new(Body::new(StreamBody::new(frames))) }
    };
    (sender, next(app))
}

#[tokio::test]
async fn the_next_request_of_a_kept_connection_enters_the_new_stack() {
    let mut server = Server::hello("{}");
    let mut client = server.connect().await;
    let (mut sender, _) = connect(&server).await;
    client.send(GET).await;
    client.read_until("hello").await;
    assert_eq!(text(sender.send_request(get("http://a/")).await.unwrap()).await, "hello");

    timeout(PATIENCE, server.replace("{}", saying("goodbye")).await).await.unwrap();
    client.send(GET).await;
    client.read_until("goodbye").await;
    assert_eq!(text(sender.send_request(get("http://a/")).await.unwrap()).await, "goodbye");
}

#[tokio::test]
async fn a_request_in_progress_finishes_in_its_own_stack_which_retires_after_it() {
    let (pieces, app) = streaming();
    let mut server = Server::hello("{}");
    timeout(PATIENCE, server.replace("{}", app).await).await.unwrap();
    let mut client = server.connect().await;
    client.send(GET).await;
    pieces.send("first").unwrap();
    client.read_until("first\r\n").await;

    let mut retired = server.replace("{}", saying("new")).await;
    let mut other = server.connect().await;
    other.send(GET).await;
    other.read_until("new").await;
    assert!((&mut retired).now_or_never().is_none());
    pieces.send("last").unwrap();
    client.read_until("last\r\n").await;
    assert!((&mut retired).now_or_never().is_none());
    drop(pieces);
    client.read_until("0\r\n\r\n").await;
    timeout(PATIENCE, retired).await.unwrap();
    client.send(GET).await;
    client.read_until("new").await;
}

#[tokio::test]
async fn a_stream_finishes_in_its_own_stack_while_the_next_one_enters_the_new() {
    let (pieces, app) = streaming();
    let mut server = Server::hello("{}");
    timeout(PATIENCE, server.replace("{}", app).await).await.unwrap();
    let (mut sender, _) = connect(&server).await;
    pieces.send("first, ").unwrap();
    let old = sender.send_request(get("http://a/")).await.unwrap();

    let mut retired = server.replace("{}", saying("new")).await;
    assert_eq!(text(sender.send_request(get("http://a/")).await.unwrap()).await, "new");
    assert!((&mut retired).now_or_never().is_none());
    pieces.send("last").unwrap();
    drop(pieces);
    assert_eq!(text(old).await, "first, last");
    timeout(PATIENCE, retired).await.unwrap();
}

#[tokio::test]
async fn a_client_that_disconnects_lets_the_stack_retire() {
    let (pieces, app) = streaming();
    let mut server = Server::hello("{}");
    timeout(PATIENCE, server.replace("{}", app).await).await.unwrap();
    let mut client = server.connect().await;
    client.send(GET).await;
    pieces.send("first").unwrap();
    client.read_until("first\r\n").await;
    let retired = server.replace("{}", saying("new")).await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    timeout(PATIENCE, retired).await.unwrap();
    assert!(pieces.is_closed());
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_a_stack_alive() {
    let held = Arc::new(());
    let there = Arc::clone(&held);
    let mut server = Server::start("{}", move |_| {
        let _ = &there;
        async { Response::new(Body::from("old")) }
    });
    let mut idle = server.connect().await;
    idle.send(GET).await;
    idle.read_until("old").await;
    timeout(PATIENCE, server.replace("{}", saying("new")).await).await.unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test]
async fn limits_hold_for_new_connections_and_open_ones_keep_theirs() {
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "x".repeat(4_000));
    let mut server = Server::hello("{}");
    let mut old = server.connect().await;
    old.send(&long).await;
    old.read_until("hello").await;
    timeout(PATIENCE, server.replace(r#"{"max_header_size": "1KiB"}"#, saying("new")).await).await.unwrap();
    old.send(&long).await;
    old.read_until("new").await;
    let mut new = server.connect().await;
    new.send(&long).await;
    assert!(new.read_to_end().await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn with_a_lower_limit_idle_connections_are_closed() {
    let mut server = Server::hello("{}");
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = server.connect().await;
        client.send(GET).await;
        client.read_until("hello").await;
        clients.push(client);
    }
    timeout(PATIENCE, server.replace(r#"{"max_connections": 1}"#, saying("new")).await).await.unwrap();
    let mut client = server.connect().await;
    client.send(CLOSE).await;
    assert!(client.read_to_end().await.ends_with("new"));
    for mut client in clients {
        assert_eq!(client.read_to_end().await, "");
    }
}

#[tokio::test]
async fn listeners_are_kept_added_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let on = |listen: &str| Listener::bind(&listen.parse().unwrap(), folder.path()).unwrap();
    let (kept, closed) = (bind("127.0.0.1:0"), bind("localhost:0"));
    let [kept_at, closed_at] = [&kept, &closed].map(|listeners| listeners[0].socket_addr().unwrap());
    let listeners = kept.into_iter().chain(closed).chain(on("unix:old.sock")).collect();
    let mut server = server::Server::start(listeners, saying("old"), &server::Options::default()).unwrap();
    assert_eq!(server.listening(), ["127.0.0.1:0", "localhost:0", "unix:old.sock"].map(|listen| listen.parse().unwrap()));

    // Not accepted yet, on this runtime of one thread.
    let waiting = std::net::TcpStream::connect(closed_at).unwrap();
    let staying = std::net::TcpStream::connect(kept_at).unwrap();
    let listen: [Listen; 2] = ["127.0.0.1:0", "unix:new.sock"].map(|listen| listen.parse().unwrap());
    let retired = server.replace(saying("new"), &server::Options::default(), &listen, on("unix:new.sock")).await.unwrap();
    assert_eq!(server.listening(), listen);
    timeout(PATIENCE, retired).await.unwrap();

    for stream in [waiting, staying] {
        stream.set_nonblocking(true).unwrap();
        let mut client = Client(TcpStream::from_std(stream).unwrap());
        client.send(CLOSE).await;
        assert!(client.read_to_end().await.ends_with("new"));
    }
    assert_eq!(TcpStream::connect(closed_at).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(!folder.path().join("old.sock").exists());
    assert!(ask(kept_at).await.ends_with("new"));
    assert!(ask_file(&folder.path().join("new.sock")).await.ends_with("new"));
    assert_eq!(server.drain().await.cut, 0);
    assert!(!folder.path().join("new.sock").exists());
}

#[tokio::test]
async fn an_inherited_socket_can_be_inherited_again() {
    use std::os::fd::AsRawFd;
    let outer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (inherited, other) = (format!("fd:{}", outer.as_raw_fd()), "127.0.0.1:0");
    let address = outer.local_addr().unwrap();
    let options = server::Options::default();
    let mut server = server::Server::start(bind(&inherited), saying("one"), &options).unwrap();
    assert!(ask(address).await.ends_with("one"));
    let waiting = std::net::TcpStream::connect(address).unwrap();
    timeout(PATIENCE, server.replace(saying("two"), &options, &[other.parse().unwrap()], bind(other)).await.unwrap()).await.unwrap();
    // A client that waits there now is for another process, or for this one when it inherits the socket again.
    assert_eq!(outer.accept().unwrap().1, waiting.local_addr().unwrap());
    let left = std::net::TcpStream::connect(address).unwrap();
    left.set_nonblocking(true).unwrap();
    let added = bind(&inherited);
    timeout(PATIENCE, server.replace(saying("three"), &options, &[inherited.parse().unwrap()], added).await.unwrap()).await.unwrap();
    let mut left = Client(TcpStream::from_std(left).unwrap());
    left.send(CLOSE).await;
    assert!(left.read_to_end().await.ends_with("three"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_changes_lose_no_request() {
    const CLIENTS: usize = 8;
    const CHANGES: usize = 100;
    let mut server = Server::hello("{}");
    let address = server.address;
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
        let mut kept = server.connect().await;
        let (mut sender, _) = connect(&server).await;
        clients.push(tokio::spawn(async move {
            while !stop.load(Relaxed) {
                match number % 3 {
                    0 => assert!(ask(address).await.ends_with("hello")),
                    1 => {
                        kept.send(GET).await;
                        kept.read_until("hello").await;
                    }
                    _ => assert_eq!(text(sender.send_request(get("http://a/")).await.unwrap()).await, "hello"),
                }
                answers.fetch_add(1, Relaxed);
            }
        }));
    }
    let mut retiring = Vec::new();
    for _ in 0..CHANGES {
        let before = answers.load(Relaxed);
        retiring.push(server.replace("{}", saying("hello")).await);
        while answers.load(Relaxed) == before {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Relaxed);
    for client in clients {
        timeout(PATIENCE, client).await.unwrap().unwrap();
    }
    for retired in retiring {
        timeout(PATIENCE, retired).await.unwrap();
    }
    assert!(answers.load(Relaxed) >= CHANGES);
    assert_eq!(server.drained().await.cut, 0);
}

#[tokio::test]
async fn a_request_that_came_before_the_drain_gets_its_response() {
    let mut server = Server::hello("{}");
    // Neither accepted nor read yet, on this runtime of one thread.
    let mut asked = std::net::TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut asked, GET.as_bytes()).unwrap();
    server.stop();
    asked.set_nonblocking(true).unwrap();
    let mut asked = Client(TcpStream::from_std(asked).unwrap());
    let answer = asked.read_to_end().await;
    assert!(answer.contains("connection: close") && answer.ends_with("hello"), "{answer}");
    assert_eq!(server.drained().await.cut, 0);
}

#[tokio::test]
async fn a_client_that_connected_before_the_drain_gets_its_response_to_a_later_request() {
    let mut server = Server::hello("{}");
    let mut client = server.connect().await;
    server.stop();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    client.send(GET).await;
    let answer = client.read_to_end().await;
    assert!(answer.contains("connection: close") && answer.ends_with("hello"), "{answer}");
    assert_eq!(server.drained().await.cut, 0);
}

#[tokio::test]
async fn a_second_request_that_came_before_the_drain_gets_its_response() {
    let mut server = Server::hello("{}");
    let mut client = server.connect().await;
    client.send(GET).await;
    client.read_until("hello").await;
    // Not read yet, on this runtime of one thread.
    client.0.try_write(GET.as_bytes()).unwrap();
    server.stop();
    let answer = client.read_to_end().await;
    assert!(answer.contains("connection: close") && answer.ends_with("hello"), "{answer}");
    assert_eq!(server.drained().await.cut, 0);
}

async fn ask(address: SocketAddr) -> String {
    let mut client = Client(TcpStream::connect(address).await.unwrap());
    client.send(CLOSE).await;
    client.read_to_end().await
}

async fn ask_file(path: &Path) -> String {
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    stream.write_all(CLOSE.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}
