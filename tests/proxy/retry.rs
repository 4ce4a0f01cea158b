//! What is sent again after a failure, and what never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::net::TcpListener;

use super::support::{Proxy, Upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn request(method: &str, body: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// An address that nothing listens on.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// An upstream that reads the request and then closes or resets.
async fn breaking(resets: bool) -> Upstream {
    Upstream::start(move |mut connection| async move {
        connection.request().await;
        if resets {
            connection.reset();
        }
    })
    .await
}

#[tokio::test]
async fn any_request_goes_elsewhere_where_no_connection_can_be_opened() {
    for method in ["GET", "POST"] {
        let upstream = Upstream::saying("ok").await;
        // The first turn is that of the largest weight.
        let proxy = Proxy::start(&format!(
            r#"{{ "to": [{{ "at": "{}", "weight": 1000 }}, "{}"], "balance": "round_robin" }}"#,
            nowhere().await,
            upstream.url()
        ));
        let answer = proxy.exchange(request(method, "body")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{method}");
        assert_eq!(upstream.requests()[0].body, b"body");
        assert_eq!(proxy.logged("phase=connect unreachable").len(), 1, "{:?}", proxy.stack.log());
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_sent_again_only_if_its_method_may_be_repeated() {
    for resets in [false, true] {
        for (method, status) in
            [("GET", 200), ("HEAD", 200), ("PUT", 200), ("DELETE", 200), ("OPTIONS", 200), ("POST", 502), ("PATCH", 502)]
        {
            let (broken, upstream) = (breaking(resets).await, Upstream::answering(OK).await);
            let to = format!(r#"[{{ "at": "{}", "weight": 1000 }}, "{}"]"#, broken.url(), upstream.url());
            let proxy = Proxy::start(&format!(r#"{{ "to": {to}, "balance": "round_robin" }}"#));
            let answer = proxy.exchange(request(method, "")).await;
            assert_eq!(answer.status, status, "{method}: {:?}", proxy.stack.log());
            assert_eq!(broken.requests().len() + upstream.requests().len(), if status == 200 { 2 } else { 1 }, "{method}");
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_ends_as_it_is_used_is_not_the_clients_problem() {
    for (method, status) in [("GET", 200), ("POST", 502)] {
        let upstream = Upstream::start(|mut connection| async move {
            connection.request().await;
            connection.send(OK).await;
            // The second request on the first connection is read, and not answered.
            if connection.number == 0 {
                connection.request().await;
                return;
            }
            while connection.request().await.is_some() {
                connection.send(OK).await;
            }
        })
        .await;
        let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "retry": false }}"#, upstream.url()));
        assert_eq!(proxy.get("/").await.status, 200);
        assert_eq!(proxy.exchange(request(method, "")).await.status, status, "{method}");
        let requests = upstream.requests();
        let delivered = requests.iter().filter(|request| request.line().starts_with(method)).count();
        assert_eq!(delivered, if method == "GET" { 3 } else { 1 }, "{method}");
        // It speaks against nobody.
        assert_eq!(proxy.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_before_is_noticed() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.request().await;
        connection.send(OK).await;
    })
    .await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "retry": false }}"#, upstream.url()));
    for _ in 0..50 {
        assert_eq!(proxy.exchange(request("POST", "x")).await.status, 200);
    }
    assert_eq!(upstream.requests().len(), 50);
}

#[tokio::test]
async fn statuses_that_are_listed_are_tried_elsewhere_and_the_last_answer_stands() {
    let busy = |text: &str| format!("HTTP/1.1 503 Busy\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let (one, other) = (Upstream::answering(busy("one")).await, Upstream::answering(busy("other")).await);
    let to = format!(r#""to": [{{ "at": "{}", "weight": 1000 }}, "{}"], "balance": "round_robin""#, one.url(), other.url());
    let proxy = Proxy::start(&format!(r#"{{ {to}, "retry": {{ "on": ["connect", 503] }}, "sticky": {{ "cookie": "up" }} }}"#));
    let answer = proxy.get("/").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "other"), "{:?}", proxy.stack.log());
    let cookie = answer.header("set-cookie");
    assert_eq!(cookie.len(), 1);
    // Not for a POST, and not where it is not listed.
    let before = one.requests().len() + other.requests().len();
    assert_eq!(proxy.exchange(request("POST", "")).await.status, 503);
    assert_eq!(one.requests().len() + other.requests().len(), before + 1);
    let proxy = Proxy::start(&format!("{{ {to} }}"));
    assert_eq!(proxy.get("/").await.status, 503);
    assert_eq!(one.requests().len() + other.requests().len(), before + 2);
}

#[tokio::test]
async fn a_body_is_sent_again_whole_or_not_at_all() {
    for (length, status) in [(1_000, 200), (65_536, 200), (65_537, 502), (1_000_000, 502)] {
        let (broken, upstream) = (breaking(false).await, Upstream::saying("ok").await);
        let to = format!(r#"[{{ "at": "{}", "weight": 1000 }}, "{}"]"#, broken.url(), upstream.url());
        let proxy = Proxy::start(&format!(r#"{{ "to": {to}, "balance": "round_robin" }}"#));
        let body = "x".repeat(length);
        assert_eq!(proxy.exchange(request("PUT", &body)).await.status, status, "{length}");
        if status == 200 {
            assert_eq!(upstream.requests()[0].body, body.as_bytes());
        }
    }
}

#[tokio::test]
async fn a_request_is_sent_as_often_as_the_file_says_and_no_endpoint_twice_while_there_are_others() {
    for (attempts, sent) in [(2, 2), (3, 3), (5, 5)] {
        let count = Arc::new(AtomicUsize::new(0));
        let mut upstreams = Vec::new();
        for _ in 0..3 {
            let count = Arc::clone(&count);
            upstreams.push(
                Upstream::start(move |mut connection| {
                    let count = Arc::clone(&count);
                    async move {
                        connection.request().await;
                        count.fetch_add(1, SeqCst);
                    }
                })
                .await,
            );
        }
        let to: Vec<String> = upstreams.iter().map(|upstream| format!("\"{}\"", upstream.url())).collect();
        let proxy = Proxy::start(&format!(r#"{{ "to": [{}], "retry": {{ "attempts": {attempts} }}, "eject": false }}"#, to.join(", ")));
        assert_eq!(proxy.get("/").await.status, 502);
        assert_eq!(count.load(SeqCst), sent);
        let most = upstreams.iter().map(|upstream| upstream.requests().len()).max().unwrap();
        assert_eq!(most, sent.div_ceil(3));
        assert_eq!(proxy.logged("reset").len(), sent);
    }
}

#[tokio::test]
async fn the_answer_names_the_request_and_the_log_names_endpoint_phase_and_cause() {
    let upstream = breaking(false).await;
    let proxy = Proxy::pipeline(&format!(r#"{{ "layers": ["request_id"], "app": {{ "proxy": "{}" }} }}"#, upstream.url()));
    let answer = proxy.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let id = &answer.header("x-request-id")[0];
    assert_eq!(answer.body, format!("502 Bad Gateway\nthe upstream server gave no valid response (request {id})\n"));
    let line = proxy.logged("WARN").remove(0);
    for part in [id.as_str(), &format!("upstream={}", upstream.url()), "attempt=1", "phase=head", "reset: "] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn a_body_that_was_read_in_part_is_sent_again_whole_with_what_comes_later() {
    let broken = Upstream::start(|mut connection| async move {
        connection.head().await;
        connection.exactly(5).await;
    })
    .await;
    let upstream = Upstream::saying("ok").await;
    let to = format!(r#"[{{ "at": "{}", "weight": 1000 }}, "{}"]"#, broken.url(), upstream.url());
    let proxy = Proxy::start(&format!(r#"{{ "to": {to}, "balance": "round_robin" }}"#));
    let mut client = proxy.connect().await;
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nConnection: close\r\n\r\nfirst").await;
    // The rest comes when the first attempt has failed.
    while proxy.logged("phase=head reset").is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    client.send("later").await;
    assert!(String::from_utf8(client.read_to_end().await).unwrap().ends_with("\r\n\r\nok"), "{:?}", proxy.logged(""));
    assert_eq!(upstream.requests()[0].body, b"firstlater");
}

#[tokio::test]
async fn of_a_thousand_requests_that_fail_at_once_no_more_than_the_budget_is_sent_again() {
    let upstreams = [breaking(false).await, breaking(false).await];
    let to = format!(r#""to": ["{}", "{}"]"#, upstreams[0].url(), upstreams[1].url());
    // The third attempt comes after a pause, and is in the budget from the time it is decided on.
    let proxy = Proxy::start(&format!(r#"{{ {to}, "limit": 1000, "eject": false, "retry": {{ "attempts": 4, "budget": "20%" }} }}"#));
    for _ in 0..10 {
        let answers = futures_util::future::join_all((0..100).map(|_| proxy.get("/"))).await;
        assert!(answers.iter().all(|answer| answer.status == 502), "{answers:?}");
    }
    let sent = upstreams.iter().map(|upstream| upstream.requests().len()).sum::<usize>();
    // A fifth of the requests. Of the first ones, ten may be sent again in any case.
    assert!((1_010..=1_210).contains(&sent), "{sent}");
}
