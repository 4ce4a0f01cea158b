//! HTTP/2 connections to upstreams over time: GOAWAY, limits of streams, and how many there are (RFC 9113 sections 5.1.2 and 6.8).

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::http2::{first_connection, goaway, ok, options, post, until, upstream};
use super::support::Proxy;

/// A head of status 200 that ends the stream.
fn answer(stream: u8) -> [u8; 10] {
    [0, 0, 1, 1, 5, 0, 0, 0, stream, 0x88]
}

/// Reads what else comes, so that the other side is not held up.
async fn drain(mut socket: TcpStream) {
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn requests_above_the_last_one_of_goaway_are_sent_again_elsewhere() {
    for reason in [0, 11] {
        let url = first_connection(move |mut socket| async move {
            assert_eq!(until(&mut socket, 1).await, 1);
            socket.write_all(&goaway(0, reason)).await.unwrap();
            tokio::spawn(drain(socket));
        })
        .await;
        let proxy = Proxy::start(&options(&url));
        let answer = proxy.exchange(post("body")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "second"), "{reason}: {:?}", proxy.logged(""));
    }
}

#[tokio::test]
async fn of_ten_streams_those_that_goaway_covers_finish_and_the_others_are_sent_elsewhere() {
    let url = first_connection(|mut socket| async move {
        for n in 0..10 {
            assert_eq!(until(&mut socket, 1).await, 2 * n + 1);
        }
        socket.write_all(&goaway(9, 0)).await.unwrap();
        for stream in [1, 3, 5, 7, 9] {
            socket.write_all(&answer(stream)).await.unwrap();
        }
        tokio::spawn(drain(socket));
    })
    .await;
    let proxy = Proxy::start(&options(&url).replace("\"http\"", "\"retry\": false, \"http\""));
    let answers = futures_util::future::join_all((0..10).map(|_| proxy.exchange(post("body")))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{:?}", proxy.logged(""));
    let count = |body: &str| answers.iter().filter(|answer| answer.body == body).count();
    assert_eq!((count(""), count("second")), (5, 5), "{:?}", proxy.logged(""));
}

#[tokio::test]
async fn a_connection_that_goes_away_gracefully_gets_no_new_request_and_ends_its_streams() {
    let (told, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tells, ends) = (Arc::clone(&told), Arc::clone(&end));
    let url = first_connection(move |mut socket| async move {
        assert_eq!(until(&mut socket, 1).await, 1);
        socket.write_all(&goaway(0x7fff_ffff, 0)).await.unwrap();
        tokio::spawn(async move {
            tells.notify_one();
            ends.notified().await;
            socket.write_all(&answer(1)).await.unwrap();
            drain(socket).await;
        });
    })
    .await;
    let proxy = Proxy::start(&options(&url).replace("\"http\"", "\"retry\": false, \"http\""));
    let open = proxy.exchange(post("body"));
    let others = async {
        told.notified().await;
        for _ in 0..5 {
            let answer = proxy.exchange(post("body")).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "second"), "{:?}", proxy.logged(""));
        }
        end.notify_one();
    };
    let (open, ()) = tokio::join!(open, others);
    assert_eq!((open.status, open.body.as_str(), open.is_cut), (200, "", false), "{:?}", proxy.logged(""));
    assert_eq!(proxy.logged("WARN"), Vec::<String>::new());
}

#[tokio::test]
async fn more_connections_are_opened_where_streams_are_few_and_the_rest_wait() {
    let (url, connections) = upstream(5, |_, _, answer| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ok("slow")(answer);
    })
    .await;
    let proxy = Proxy::start(&options(&url));
    // The settings of the first connection arrive with the first answer.
    assert_eq!(proxy.get("/").await.status, 200);
    let statuses = futures_util::future::join_all((0..50).map(|_| proxy.get("/"))).await;
    assert!(statuses.iter().all(|answer| answer.status == 200), "{:?}", proxy.logged(""));
    let connections = connections.load(SeqCst);
    assert!((2..=9).contains(&connections), "{connections}");
}

#[tokio::test]
async fn a_server_that_allows_few_streams_is_busy_and_not_to_blame() {
    let gate = Arc::new(tokio::sync::Semaphore::new(1));
    let held = Arc::clone(&gate);
    let (url, connections) = upstream(1, move |_, _, answer| {
        let gate = Arc::clone(&held);
        async move {
            gate.acquire().await.unwrap().forget();
            ok("slow")(answer);
        }
    })
    .await;
    let proxy = Proxy::start(&format!(
        r#"{{ "to": ["{url}"], "http": "2", "connect": "1s", "timeout": "10s", "queue": {{ "wait": "1s" }}, "retry": false,
             "eject": {{ "after": 1, "at_most": "100%" }} }}"#
    ));
    // The settings of the first connection arrive with the first answer.
    assert_eq!(proxy.get("/").await.status, 200);
    let asked: Vec<_> = (0..100).map(|_| proxy.get("/")).collect();
    let freed = async {
        // Meanwhile those without a connection have waited for their time.
        while proxy.logged("no connection had room in time").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gate.add_permits(1000);
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(asked), freed);
    let with = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(with(200) + with(503), 100, "{answers:?}");
    assert!(with(503) > 0 && answers.iter().all(|answer| answer.status == 200 || answer.header("retry-after") == ["1"]), "{answers:?}");
    assert!(connections.load(SeqCst) <= 8);
    assert_eq!(proxy.logged("ejected"), Vec::<String>::new());
    assert_eq!(proxy.get("/").await.status, 200);
}

#[tokio::test]
async fn clients_that_read_nothing_do_not_stop_the_others_of_their_connection() {
    const CLIENTS: usize = 24;
    let stalled = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&stalled);
    let (url, connections) = upstream(100, move |_, request, mut answer| {
        let stalled = Arc::clone(&counted);
        async move {
            if request.uri().path() != "/endless" {
                return ok("small")(answer);
            }
            let mut body = answer.send_response(http::Response::new(()), false).unwrap();
            let mut has_stalled = false;
            loop {
                body.reserve_capacity(64 << 10);
                let room = match timeout(Duration::from_millis(200), poll_fn(|cx| body.poll_capacity(cx))).await {
                    Ok(Some(Ok(room))) => room,
                    Ok(_) => return,
                    Err(_) => {
                        stalled.fetch_add(usize::from(!has_stalled), SeqCst);
                        has_stalled = true;
                        continue;
                    }
                };
                body.send_data(vec![b'x'; room].into(), false).unwrap();
            }
        }
    })
    .await;
    let proxy = Proxy::start(&options(&url));
    assert_eq!(proxy.get("/").await.status, 200);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = proxy.connect().await;
        client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
        clients.push(client);
    }
    while stalled.load(SeqCst) < CLIENTS {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = timeout(Duration::from_secs(10), proxy.get("/")).await.expect("the connection is full");
    assert_eq!((answer.status, answer.body.as_str(), connections.load(SeqCst)), (200, "small", 1));
}
