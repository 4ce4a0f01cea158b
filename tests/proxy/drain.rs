//! The end of proxied WebSockets when the server drains or reloads.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::black_box::Program;
use super::h2_websocket::Connection;
use super::support::PATIENCE;
use super::websockets::next;

/// An upstream that echoes messages, and reports the code of the Close frame with which a WebSocket ends.
async fn upstream() -> (u16, mpsc::UnboundedReceiver<Option<u16>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (ended, ends) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let ended = ended.clone();
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else { return };
                let mut code = None;
                while let Some(Ok(message)) = socket.next().await {
                    match message {
                        Message::Close(frame) => code = frame.map(|frame| frame.code.into()),
                        Message::Text(_) => socket.send(message).await.unwrap(),
                        _ => {}
                    }
                }
                ended.send(code).unwrap();
            });
        }
    });
    (port, ends)
}

fn start(port: u16, drain: &str) -> Program {
    Program::start(
        &format!(
            r#"{{ "listen": "127.0.0.1:0", "server": {{ "drain": "{drain}" }}, "layers": ["access_log"],
                 "app": {{ "routes": [{{ "app": {{ "proxy": "http://127.0.0.1:{port}" }} }}] }} }}"#
        ),
        &[],
    )
}

fn code(message: &Message) -> Option<u16> {
    match message {
        Message::Close(Some(frame)) => Some(frame.code.into()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn both_sides_of_a_websocket_are_told_to_go_away_when_the_drain_begins() {
    let (port, mut ends) = upstream().await;
    let mut program = start(port, "10m");
    let (mut old, _) = tokio_tungstenite::connect_async(format!("ws://{}/", program.address())).await.unwrap();
    let (_, mut new) = Connection::open(program.address()).await.websocket("/").await.unwrap();
    old.send(Message::text("one")).await.unwrap();
    new.send(Message::text("two")).await.unwrap();
    assert_eq!((next(&mut old).await, next(&mut new).await), (Message::text("one"), Message::text("two")));
    program.signal("TERM");
    assert_eq!((code(&next(&mut old).await), code(&next(&mut new).await)), (Some(1001), Some(1001)));
    // tungstenite answers with its own Close frame.
    while let Some(Ok(_)) = old.next().await {}
    while let Some(Ok(_)) = new.next().await {}
    for _ in 0..2 {
        assert_eq!(timeout(PATIENCE, ends.recv()).await.unwrap().unwrap(), Some(1001));
    }
    drop((old, new));
    assert!(program.wait().success(), "{}", program.log());
    assert!(!program.log().contains("cut off"), "{}", program.log());
}

#[tokio::test]
async fn a_reload_lets_websockets_go_on_until_the_end_of_its_drain() {
    let (port, mut ends) = upstream().await;
    let mut program = start(port, "1s");
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/", program.address())).await.unwrap();
    let begin = Instant::now();
    program.signal("HUP");
    program.wait_for_log("reloaded");
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::text("still here"));
    assert_eq!(code(&next(&mut socket).await), Some(1001));
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(timeout(PATIENCE, ends.recv()).await.unwrap().unwrap(), Some(1001));
}

/// A frame from the upstream that is half sent when the drain begins.
#[tokio::test]
async fn a_close_frame_stands_never_inside_another_frame() {
    const LARGE: usize = 1 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut program = start(listener.local_addr().unwrap().port(), "10m");
    let (mut client, mut upstream) = {
        let mut client = tokio::net::TcpStream::connect(program.address()).await.unwrap();
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let ask = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\n\r\n");
        client.write_all(ask.as_bytes()).await.unwrap();
        let (mut upstream, _) = listener.accept().await.unwrap();
        read_head(&mut upstream).await;
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept:";
        upstream.write_all(format!("{head} {}\r\n\r\n", derive_accept_key(key.as_bytes())).as_bytes()).await.unwrap();
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101"));
        (client, upstream)
    };
    let mut frame = vec![0x82, 127];
    frame.extend((LARGE as u64).to_be_bytes());
    frame.resize(frame.len() + LARGE, b'x');
    let (first, second) = frame.split_at(LARGE / 2);
    upstream.write_all(first).await.unwrap();
    let mut received = vec![0; first.len()];
    client.read_exact(&mut received).await.unwrap();
    program.signal("TERM");
    // The other direction is between frames.
    let mut close = [0; 8];
    timeout(PATIENCE, upstream.read_exact(&mut close)).await.unwrap().unwrap();
    assert_eq!((&close[..2], [close[6] ^ close[2], close[7] ^ close[3]]), (&[0x88, 0x82][..], 1001_u16.to_be_bytes()));
    upstream.write_all(&[second, b"\x81\x05never", b"\x88\x02\x03\xe9"].concat()).await.unwrap();
    client.write_all(b"\x88\x82\0\0\0\0\x03\xe9").await.unwrap();
    timeout(PATIENCE, client.read_to_end(&mut received)).await.unwrap().unwrap();
    assert!(received[..frame.len()] == frame && received[frame.len()..] == *b"\x88\x02\x03\xe9", "{}", received.len());
    drop((client, upstream));
    assert!(program.wait().success(), "{}", program.log());
}

async fn read_head(stream: &mut tokio::net::TcpStream) -> String {
    let mut octets = Vec::new();
    while !octets.ends_with(b"\r\n\r\n") {
        octets.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(octets).unwrap()
}
