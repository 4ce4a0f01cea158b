//! HTTP/2 to upstreams (RFC 9113), hostile ones too, and gRPC through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Proxy, Upstream};

pub(crate) type Incoming = Request<h2::RecvStream>;

/// An upstream that speaks HTTP/2 by prior knowledge; each request is served by this, with the number of its connection.
pub(crate) async fn upstream<F, Fut>(streams: u32, serve: F) -> (String, Arc<AtomicUsize>)
where
    F: Fn(usize, Incoming, SendResponse<Bytes>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (serve, number) = (serve.clone(), count.fetch_add(1, SeqCst));
            tokio::spawn(speak(socket, streams, number, serve));
        }
    });
    (format!("http://{address}"), connections)
}

async fn speak<F, Fut>(socket: TcpStream, streams: u32, number: usize, serve: F)
where
    F: Fn(usize, Incoming, SendResponse<Bytes>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(streams).handshake(socket).await else { return };
    while let Some(Ok((request, answer))) = connection.accept().await {
        tokio::spawn(serve(number, request, answer));
    }
}

pub(crate) fn ok(text: &'static str) -> impl Fn(SendResponse<Bytes>) {
    move |mut answer| {
        let mut body = answer.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from_static(text.as_bytes()), true).unwrap();
    }
}

pub(crate) async fn whole(mut body: h2::RecvStream) -> Vec<u8> {
    let mut octets = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        octets.extend_from_slice(&data);
    }
    octets
}

pub(crate) fn options(url: &str) -> String {
    format!(r#"{{ "to": "{url}", "http": "2", "eject": false }}"#)
}

pub(crate) fn post(body: &str) -> String {
    format!(
        "POST /x?y HTTP/1.1\r\nHost: site.example\r\nContent-Length: {}\r\nConnection: close, x-secret\r\nX-Secret: 1\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn the_request_arrives_in_the_form_of_http2() {
    let (url, _) = upstream(100, |_, request, answer| async move {
        assert_eq!(request.uri(), "http://site.example/x?y");
        for name in ["host", "connection", "transfer-encoding", "x-secret", "te", "keep-alive"] {
            assert!(!request.headers().contains_key(name), "{name}");
        }
        assert_eq!(request.headers()["x-forwarded-for"], "127.0.0.1");
        assert_eq!(request.headers()["content-length"], "4");
        assert_eq!(whole(request.into_body()).await, b"body");
        ok("two")(answer);
    })
    .await;
    let proxy = Proxy::start(&options(&url));
    let answer = proxy.exchange(post("body")).await;
    assert_eq!((answer.status, answer.body.as_str(), answer.is_cut), (200, "two", false), "{:?}", proxy.logged(""));
}

#[tokio::test]
async fn a_request_that_was_refused_unprocessed_is_sent_again_whole_whatever_its_method() {
    let refusals = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&refusals);
    let (url, _) = upstream(100, move |_, request, mut answer| {
        let seen = Arc::clone(&seen);
        async move {
            let body = whole(request.into_body()).await;
            assert_eq!(body, vec![b'x'; 32 << 10]);
            match seen.fetch_add(1, SeqCst) {
                0 => answer.send_reset(Reason::REFUSED_STREAM),
                _ => ok("done")(answer),
            }
        }
    })
    .await;
    // Not even retries are on.
    let proxy = Proxy::start(&options(&url).replace("\"http\"", "\"retry\": false, \"http\""));
    let answer = proxy.exchange(post(&"x".repeat(32 << 10))).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "done"), "{:?}", proxy.logged(""));
    assert_eq!(refusals.load(SeqCst), 2);
}

#[tokio::test]
async fn endless_refusals_end() {
    let (url, _) = upstream(100, |_, _, mut answer| async move { answer.send_reset(Reason::REFUSED_STREAM) }).await;
    let proxy = Proxy::start(&options(&url));
    assert_eq!(proxy.exchange(post("x")).await.status, 502);
}

#[tokio::test]
async fn other_resets_are_repeated_only_where_the_method_allows_it() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let (url, _) = upstream(100, move |_, _, mut answer| {
        let seen = Arc::clone(&seen);
        async move {
            match seen.fetch_add(1, SeqCst) {
                0 | 2 => answer.send_reset(Reason::INTERNAL_ERROR),
                _ => ok("done")(answer),
            }
        }
    })
    .await;
    let proxy = Proxy::start(&options(&url));
    assert_eq!(proxy.get("/").await.status, 200);
    assert_eq!(proxy.exchange(post("x")).await.status, 502);
    assert_eq!(count.load(SeqCst), 3);
}

/// A connection that speaks frames: the preface has been read, and our settings are sent.
pub(crate) async fn frames(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut preface = [0; 24];
    socket.read_exact(&mut preface).await.unwrap();
    socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    socket
}

/// Reads frames until one of this type, of which it gives the stream.
pub(crate) async fn until(socket: &mut TcpStream, kind: u8) -> u32 {
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        socket.read_exact(&mut payload).await.unwrap();
        if head[3] == kind {
            return u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        }
    }
}

pub(crate) fn goaway(last: u32, reason: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&last.to_be_bytes());
    frame.extend_from_slice(&reason.to_be_bytes());
    frame
}

/// Speaks frames on the first connection, and proper HTTP/2 on those after it.
pub(crate) async fn first_connection<F, Fut>(first: F) -> String
where
    F: FnOnce(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let socket = frames(&listener).await;
        first(socket).await;
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(speak(socket, 100, 1, |_, request: Incoming, answer| async move {
                whole(request.into_body()).await;
                ok("second")(answer);
            }));
        }
    });
    url
}

#[tokio::test]
async fn answers_that_break_http2_are_502_and_a_post_is_not_sent_again() {
    let cases: &[(&str, &[u8])] = &[
        ("settings of a wrong length", &[0, 0, 1, 4, 0, 0, 0, 0, 0, 0]),
        ("data on stream 0", &[0, 0, 1, 0, 0, 0, 0, 0, 0, b'x']),
        ("data before the head", &[0, 0, 1, 0, 0, 0, 0, 0, 1, b'x']),
        ("a head without a status", &[0, 0, 0, 1, 5, 0, 0, 0, 1]),
        ("a head that is no HPACK", &[0, 0, 3, 1, 5, 0, 0, 0, 1, 0xff, 0xff, 0xff]),
        ("a head in parts that another frame divides", &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x88, 0, 0, 1, 0, 0, 0, 0, 0, 1, b'x']),
        ("a window update of 0", &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("a push", &[0, 0, 5, 5, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0x88]),
        ("a frame that is too large", &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]),
        ("a ping of a wrong length", &[0, 0, 1, 6, 0, 0, 0, 0, 0, 0]),
        ("a head on stream 0", &[0, 0, 1, 1, 5, 0, 0, 0, 0, 0x88]),
        ("a head on a stream that nobody opened", &[0, 0, 1, 1, 5, 0, 0, 0, 9, 0x88]),
        ("a continuation of nothing", &[0, 0, 1, 9, 4, 0, 0, 0, 1, 0x88]),
        ("a status of letters", &[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x48, 0x03, b'2', b'x', b'x', 0x00]),
        ("two statuses", &[0, 0, 2, 1, 5, 0, 0, 0, 1, 0x88, 0x89]),
        ("a field before the status", &[0, 0, 5, 1, 5, 0, 0, 0, 1, 0x00, 0x01, b'x', 0x00, 0x88]),
        ("a name in capitals", &[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x88, 0x00, 0x01, b'X', 0x01, b'y']),
        ("a NUL in a value", &[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x88, 0x00, 0x01, b'x', 0x01, 0x00]),
        ("an index beyond the table", &[0, 0, 2, 1, 5, 0, 0, 0, 1, 0x88, 0xfe]),
        ("padding longer than the frame", &[0, 0, 2, 1, 0xd, 0, 0, 0, 1, 0x09, 0x88]),
        ("a reset of stream 0", &[0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("a reset of a wrong length", &[0, 0, 3, 3, 0, 0, 0, 0, 1, 0, 0, 0]),
        ("a window beyond all bounds", &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]),
        ("settings that push", &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 7]),
        ("a frame size that is too small", &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1]),
        ("HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("101", &[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x48, 0x03, b'1', b'0', b'1', 0x00]),
    ];
    for (name, octets) in cases {
        let octets = octets.to_vec();
        let url = first_connection(move |mut socket| async move {
            until(&mut socket, 1).await;
            socket.write_all(&octets).await.unwrap();
            tokio::spawn(async move {
                let mut rest = Vec::new();
                let _ = socket.read_to_end(&mut rest).await;
            });
        })
        .await;
        let proxy = Proxy::start(&options(&url).replace("\"http\"", "\"timeout\": \"5s\", \"http\""));
        let answer = proxy.exchange(post("body")).await;
        assert_eq!((answer.status, answer.is_cut), (502, false), "{name}: {:?}", proxy.logged(""));
        assert_eq!(proxy.logged("WARN").len(), 1, "{name}: {:?}", proxy.logged(""));
    }
}

#[tokio::test]
async fn bodies_that_break_off_or_have_another_length_are_broken_off() {
    for (name, length, reset) in [
        ("reset", None, Some(Reason::INTERNAL_ERROR)),
        ("reset without an error", None, Some(Reason::NO_ERROR)),
        ("too short", Some("10"), None),
        ("too long", Some("2"), None),
    ] {
        let (url, _) = upstream(100, move |_, _, mut answer| async move {
            let mut head = Response::builder();
            if let Some(length) = length {
                head = head.header("content-length", length);
            }
            let mut body = answer.send_response(head.body(()).unwrap(), false).unwrap();
            body.send_data(Bytes::from_static(b"hello"), reset.is_none()).unwrap();
            if let Some(reason) = reset {
                tokio::time::sleep(Duration::from_millis(50)).await;
                body.send_reset(reason);
            }
        })
        .await;
        let proxy = Proxy::start(&options(&url));
        let answer = proxy.get("/").await;
        assert!(answer.is_cut, "{name}: {answer:?}");
        assert_eq!(proxy.logged("WARN").len(), 1, "{name}");
    }
}

#[tokio::test]
async fn grpc_passes_with_its_trailers_and_a_stream_in_each_direction() {
    let (url, _) = upstream(100, |_, request, mut answer| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut out = answer.send_response(head, false).unwrap();
        let mut body = request.into_body();
        // Each message is echoed before the next one comes.
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            out.send_data(data, false).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("content-length", "5".parse().unwrap());
        out.send_trailers(trailers).unwrap();
    })
    .await;
    let proxy = Proxy::start(&options(&url));
    let socket = TcpStream::connect(proxy.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let (messages, received) = tokio::sync::mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::unfold(received, |mut received| async move {
        let data = received.recv().await?;
        Some((Ok::<_, std::io::Error>(http_body::Frame::data(data)), received))
    });
    let request = Request::post(format!("http://{}/service/method", proxy.address))
        .header("te", "trailers")
        .body(StreamBody::new(Box::pin(frames)))
        .unwrap();
    let mut answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    for text in ["one", "two", "three"] {
        messages.send(Bytes::from_static(text.as_bytes())).await.unwrap();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), text);
    }
    drop(messages);
    let trailers = answer.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!((trailers["grpc-status"].as_bytes(), trailers.len()), (&b"0"[..], 1));
}

#[tokio::test]
async fn an_http2_client_reaches_an_http1_upstream() {
    let upstream = Upstream::saying("one").await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let socket = TcpStream::connect(proxy.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    for body in ["", "body"] {
        let request = Request::put("http://site.example/a").body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "one");
    }
    let requests = upstream.requests();
    assert_eq!(requests[0].header("host"), ["site.example"]);
    assert_eq!((requests[1].body.as_slice(), requests[1].header("via")), (&b"body"[..], vec!["2 ziggurat".to_owned()]));
}
