//! WebSockets and other upgrades (RFC 9110 section 7.8).

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use super::support::{Client, PATIENCE, Proxy, Upstream};

const ASK: &str = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: other, echo\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\nX-Kept: 1\r\n\r\n";

/// Switches with these octets and echoes.
async fn echo(octets: &'static str) -> Upstream {
    Upstream::start(move |mut connection| async move {
        if connection.request().await.is_none() {
            return;
        }
        connection.send(octets).await;
        let (mut read, mut write) = connection.socket.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

async fn upgraded(proxy: &Proxy) -> Client {
    let mut client = proxy.connect().await;
    client.send(ASK).await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head} {:?}", proxy.logged(""));
    client
}

async fn logged(proxy: &Proxy, text: &str) -> String {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(line) = proxy.logged(text).pop() {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("no `{text}` in {:?}", proxy.logged("")))
}

#[tokio::test]
async fn octets_pass_both_ways_after_the_switch_and_are_counted() {
    let upstream = echo(SWITCH).await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let mut client = proxy.connect().await;
    client.send(ASK).await;
    let head = client.read_until("\r\n\r\n").await;
    let lower = head.to_lowercase();
    assert!(
        lower.contains("\r\nconnection: upgrade\r\n") && lower.contains("\r\nupgrade: echo\r\n") && lower.contains("\r\nx-kept: 1\r\n"),
        "{head}"
    );
    let request = upstream.requests().remove(0);
    assert_eq!((request.header("connection"), request.header("upgrade")), (vec!["upgrade".to_owned()], vec!["other, echo".to_owned()]));
    assert_eq!(request.header("x-forwarded-for"), ["127.0.0.1"]);
    for text in ["one", "GET / HTTP/1.1\r\n\r\n", "\0\u{1}three"] {
        client.send(text).await;
        client.read_until(text).await;
    }
    let status = proxy.stack.lifecycle().status().remove(0).1;
    assert_eq!((&status["endpoints"][0]["tunnels"], &status["endpoints"][0]["under way"]), (&1.into(), &1.into()));
    client.0.shutdown().await.unwrap();
    assert!(client.read_to_end().await.is_empty());
    let line = logged(&proxy, "a tunnel ended: both sides closed").await;
    assert!(line.contains("sent=28 received=28"), "{line}");
    let status = proxy.stack.lifecycle().status().remove(0).1;
    assert_eq!((&status["endpoints"][0]["tunnels"], &status["endpoints"][0]["under way"]), (&0.into(), &0.into()));
}

#[tokio::test]
async fn octets_that_come_with_the_switch_are_kept_and_a_missing_connection_header_changes_nothing() {
    for octets in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: ECHO\r\n\r\nfirst",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst",
    ] {
        let upstream = echo(octets).await;
        let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
        let mut client = upgraded(&proxy).await;
        client.read_until("first").await;
        client.send("second").await;
        client.read_until("second").await;
    }
}

#[tokio::test]
async fn a_switch_to_something_else_is_502_and_an_answer_is_an_answer() {
    for (octets, status) in [
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 502),
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n", 502),
        ("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", 403),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        ("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", 426),
    ] {
        let upstream = Upstream::answering(octets).await;
        let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
        let mut client = proxy.connect().await;
        client.send(ASK.replace("keep-alive", "close")).await;
        let answer = super::support::Answer::read(&client.read_to_end().await);
        assert_eq!(answer.status, status, "{octets}: {answer:?}");
    }
}

#[tokio::test]
async fn each_side_may_close_its_direction_first() {
    const LARGE: usize = 1 << 20;
    // The upstream waits for the end, and then says much.
    let upstream = Upstream::start(|mut connection| async move {
        connection.request().await;
        connection.send(SWITCH).await;
        let mut question = Vec::new();
        connection.socket.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        connection.send(vec![b'x'; LARGE]).await;
    })
    .await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let mut client = upgraded(&proxy).await;
    client.send("question").await;
    client.0.shutdown().await.unwrap();
    assert_eq!(client.read_to_end().await.len(), LARGE);
    // The other way round.
    let (heard, mut told) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::start(move |mut connection| {
        let heard = heard.clone();
        async move {
            connection.request().await;
            connection.send(SWITCH).await;
            connection.socket.shutdown().await.unwrap();
            let mut answer = Vec::new();
            connection.socket.read_to_end(&mut answer).await.unwrap();
            heard.send(answer.len()).await.unwrap();
        }
    })
    .await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let mut client = upgraded(&proxy).await;
    assert!(client.read_to_end().await.is_empty());
    client.send(vec![b'x'; LARGE]).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, told.recv()).await.unwrap(), Some(LARGE));
}

#[tokio::test]
async fn a_silent_tunnel_ends_and_one_that_speaks_one_way_does_not() {
    let upstream = echo(SWITCH).await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "idle": "300ms", "timeout": "100ms" }}"#, upstream.url()));
    let mut client = upgraded(&proxy).await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send("x").await;
        client.read_until("x").await;
    }
    client.read_to_end().await;
    logged(&proxy, "a tunnel ended: both sides were silent for 300ms").await;
}

#[tokio::test]
async fn a_tunnel_ends_when_its_stack_retires() {
    let upstream = echo(SWITCH).await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let mut client = upgraded(&proxy).await;
    proxy.stack.lifecycle().retire().await;
    client.read_to_end().await;
    logged(&proxy, "a tunnel ended: the server ends or was reloaded").await;
}

#[tokio::test]
async fn tunnels_count_against_the_limit() {
    let upstream = echo(SWITCH).await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "limit": 2, "queue": {{ "limit": 0 }} }}"#, upstream.url()));
    let held = [upgraded(&proxy).await, upgraded(&proxy).await];
    assert_eq!(proxy.get("/").await.status, 503);
    drop(held);
    logged(&proxy, "a tunnel ended").await;
    tokio::time::timeout(PATIENCE, async {
        while proxy.stack.lifecycle().status().remove(0).1["endpoints"][0]["under way"] != 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    upgraded(&proxy).await;
}

#[tokio::test]
async fn websockets_pass_with_frames_of_any_size_through_layers_and_routes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let proxy = Proxy::pipeline(&format!(
        r#"{{
          "layers": ["request_id", "compress", "security_headers"],
          "app": {{ "routes": [{{ "mount": "/live", "app": {{ "proxy": "http://{address}" }} }}, {{ "app": {{ "respond": 404 }} }}] }}
        }}"#
    ));
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let (socket, answer) = tokio_tungstenite::connect_async(format!("ws://{}/live/chat", proxy.address)).await.unwrap();
        assert!(answer.headers().contains_key("x-request-id"));
        sockets.push(socket);
    }
    for (n, socket) in sockets.iter_mut().enumerate() {
        let large = vec![n as u8; 1 << 20];
        for message in [Message::text("hello"), Message::binary(large), Message::text("")] {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap(), message);
        }
        socket.send(Message::Ping("x".into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("x".into()));
    }
    for mut socket in sockets {
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    }
    tokio::time::timeout(PATIENCE, async {
        while proxy.logged("a tunnel ended").len() < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}
