//! Requests that are cut off because the time of their stack is over.

use std::convert::Infallible;
use std::future::pending;
use std::path::Path;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use ziggurat::pipeline::Pipeline;
use ziggurat_middleware::{Body, Lifecycle, Next, Request, Response};

use crate::http2::{connect, get};
use crate::support::{Client, Noted, PATIENCE, Server, next, saying};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// Responds to `/pending` never, to `/slow` with one frame and then nothing, and to `/endless` without end. Notes requests, and those that ended.
fn unending() -> (Next, mpsc::UnboundedReceiver<()>, mpsc::UnboundedReceiver<()>) {
    let (entered, entries) = mpsc::unbounded_channel();
    let (dropped, drops) = mpsc::unbounded_channel();
    let app = move |request: Request| {
        let noted = Noted(dropped.clone());
        entered.send(()).unwrap();
        async move {
            if request.uri().path() == "/pending" {
                let _noted = noted;
                return pending().await;
            }
            let ends = request.uri().path() != "/endless";
            let frames = stream::unfold((noted, 0_usize), move |(noted, sent)| async move {
                if ends && sent == 1 {
                    return pending().await;
                }
                Some((Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(&[b'x'; 16_384]))), (noted, sent + 1)))
            });
            Response::new(Body::new(StreamBody::new(frames)))
        }
    };
    (next(app), entries, drops)
}

async fn ask(server: &Server, request: &str) -> Client {
    let mut client = server.connect().await;
    client.send(request).await;
    client
}

#[tokio::test]
async fn http1_requests_end_with_503_or_without_their_end() {
    let (stack, mut entries, mut drops) = unending();
    let mut server = Server::start_stack("{}", stack);
    let mut waiting = ask(&server, "GET /pending HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut slow = ask(&server, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut old = ask(&server, "GET /slow HTTP/1.0\r\n\r\n").await;
    // It does not read, so the server cannot write.
    let stalled = ask(&server, "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for _ in 0..4 {
        entries.recv().await.unwrap();
    }
    slow.read_until("xxx").await;
    old.read_until("xxx").await;

    let retiring = server.replace("{}", saying("new")).await;
    let mut newer = ask(&server, GET).await;
    newer.read_until("new").await;
    retiring.cut();
    timeout(PATIENCE, retiring).await.unwrap();
    for _ in 0..4 {
        timeout(PATIENCE, drops.recv()).await.unwrap().unwrap();
    }
    let answer = waiting.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(!slow.read_to_end().await.ends_with("0\r\n\r\n"));
    let mut rest = Vec::new();
    let end = timeout(PATIENCE, old.0.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    drop(stalled);
    newer.send(GET).await;
    newer.read_until("new").await;
}

#[tokio::test]
async fn http2_streams_are_reset_and_their_connection_goes_on() {
    let (stack, mut entries, mut drops) = unending();
    let mut server = Server::start_stack("{}", stack);
    let (mut sender, _) = connect(&server).await;
    let waiting = sender.send_request(get("http://a/pending"));
    let slow = sender.send_request(get("http://a/slow"));
    let endless = sender.send_request(get("http://a/endless"));
    let (waiting, slow, endless) = (tokio::spawn(waiting), tokio::spawn(slow), tokio::spawn(endless));
    for _ in 0..3 {
        entries.recv().await.unwrap();
    }
    let (slow, endless) = (slow.await.unwrap().unwrap(), endless.await.unwrap().unwrap());
    let retiring = server.replace("{}", saying("new")).await;
    retiring.cut();
    timeout(PATIENCE, retiring).await.unwrap();
    for _ in 0..3 {
        timeout(PATIENCE, drops.recv()).await.unwrap().unwrap();
    }
    assert!(waiting.await.unwrap().is_err());
    assert!(slow.into_body().collect().await.is_err());
    assert!(endless.into_body().collect().await.is_err());
    assert_eq!(crate::http2::text(sender.send_request(get("http://a/")).await.unwrap()).await, "new");
}

#[tokio::test]
async fn requests_that_the_drain_cuts_off_get_503_or_no_end_and_the_stack_is_empty_afterwards() {
    let (stack, mut entries, mut drops) = unending();
    let server = Server::start_stack(r#"{"drain": "100ms"}"#, stack);
    let mut waiting = ask(&server, "GET /pending HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut slow = ask(&server, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut sender, _) = connect(&server).await;
    let stream = tokio::spawn(sender.send_request(get("http://a/pending")));
    for _ in 0..3 {
        entries.recv().await.unwrap();
    }
    assert_eq!(server.drained().await.cut, 3);
    // All of them have ended by now.
    for _ in 0..3 {
        drops.try_recv().unwrap();
    }
    assert!(waiting.read_to_end().await.starts_with("HTTP/1.1 503 "));
    assert!(!slow.read_to_end().await.ends_with("0\r\n\r\n"));
    assert!(stream.await.unwrap().is_err());
}

#[tokio::test]
async fn each_request_that_was_cut_off_has_its_line_in_the_access_log() {
    const FILES: usize = 3;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("files")).unwrap();
    std::fs::File::create(folder.path().join("files/large.bin")).unwrap().set_len(1 << 30).unwrap();
    let text = r#"{ "layers": [{ "access_log": { "format": "json", "to": "access.log" } }], "app": { "static": "files" } }"#;
    let pipeline = Pipeline::from_text("pipeline.json", text, folder.path(), &ziggurat::builtin(), &|_| None)
        .unwrap_or_else(|report| panic!("{report}"));
    let lifecycle = Lifecycle::default();
    let mut server = Server::start_stack("{}", pipeline.build(&lifecycle).unwrap_or_else(|report| panic!("{report}")));
    let mut slow = Vec::new();
    for _ in 0..FILES {
        let mut client = ask(&server, "GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.read_until("\r\n\r\n").await;
        slow.push(client);
    }
    let (mut sender, _) = connect(&server).await;
    let stream = sender.send_request(get("http://a/large.bin")).await.unwrap();

    let retiring = server.replace("{}", saying("new")).await;
    retiring.cut();
    timeout(PATIENCE, retiring).await.unwrap();
    lifecycle.retire().await;
    lifecycle.shutdown();
    let log = read(&folder.path().join("access.log"));
    assert_eq!(log.len(), FILES + 1, "{log:?}");
    for line in &log {
        assert!(line["status"] == 200 && line["complete"] == false, "{line}");
    }
    assert!(stream.into_body().collect().await.is_err());
    for mut client in slow {
        let mut octets = Vec::new();
        let _ = timeout(PATIENCE, client.0.read_to_end(&mut octets)).await.unwrap();
        assert!(octets.len() < 1 << 30);
    }
}

fn read(path: &Path) -> Vec<serde_json::Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
