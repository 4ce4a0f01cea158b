//! Kept connections to upstreams that close them at any moment.

use std::time::Duration;

use super::support::{Proxy, Upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn an_upstream_that_closes_idle_connections_as_requests_come_fails_no_request_that_may_be_repeated() {
    // After its first request, each connection is idle for 15 ms at most, and requests come after 10 to 20 ms.
    let upstream = Upstream::start(|mut connection| async move {
        let mut next = connection.request().await;
        while next.is_some() {
            connection.send(OK).await;
            next = tokio::time::timeout(Duration::from_millis(15), connection.request()).await.ok().flatten();
        }
    })
    .await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "retry": false, "eject": {{ "after": 1, "at_most": "100%" }} }}"#, upstream.url()));
    let client = |n: usize| {
        let proxy = &proxy;
        async move {
            let mut client = proxy.connect().await;
            let mut posts = (0, 0);
            for round in 0..100 {
                tokio::time::sleep(Duration::from_millis(10 + (n * 7 + round * 3) as u64 % 11)).await;
                let method = if round % 10 == 0 { "POST" } else { "GET" };
                client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).await;
                let head = client.read_until("\r\n\r\n").await;
                let status = &head[9..12];
                if method == "POST" {
                    posts.0 += 1;
                    posts.1 += usize::from(status == "200");
                }
                // A POST on a connection that ends may have been processed: it is 502, and not sent again.
                assert!(status == "200" || method == "POST" && status == "502", "{method}: {head} {:?}", proxy.logged(""));
                let length: usize =
                    head.to_lowercase().split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
                for _ in 0..length {
                    tokio::io::AsyncReadExt::read_u8(&mut client.0).await.unwrap();
                }
            }
            posts
        }
    };
    let posts = futures_util::future::join_all((0..16).map(client)).await;
    let (sent, answered) = posts.into_iter().fold((0, 0), |sum, (sent, answered)| (sum.0 + sent, sum.1 + answered));
    let delivered = upstream.requests().iter().filter(|request| request.line().starts_with("POST")).count();
    assert!((answered..=sent).contains(&delivered), "{sent} POSTs were sent, {delivered} delivered and {answered} answered");
    assert_eq!(proxy.logged("ejected"), Vec::<String>::new());
}
