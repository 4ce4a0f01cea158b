//! Which upstream gets what: weights, hashes, sticky cookies, limits, checks, ejection, names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::support::{Answer, PATIENCE, Proxy, Upstream};

/// Waits until this holds.
async fn until(mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap();
}

async fn upstreams<const N: usize>() -> [Upstream; N] {
    let mut list = Vec::new();
    for n in 0..N {
        list.push(Upstream::saying(&n.to_string()).await);
    }
    list.try_into().ok().unwrap()
}

fn to(upstreams: &[Upstream]) -> String {
    let urls: Vec<String> = upstreams.iter().map(|upstream| format!("\"{}\"", upstream.url())).collect();
    format!("\"to\": [{}]", urls.join(", "))
}

#[tokio::test]
async fn round_robin_follows_the_weights() {
    let [one, two, three] = upstreams().await;
    let proxy = Proxy::start(&format!(
        r#"{{ "to": [{{ "at": "{}", "weight": 3 }}, "{}", "{}"], "balance": "round_robin" }}"#,
        one.url(),
        two.url(),
        three.url()
    ));
    let mut order = String::new();
    for _ in 0..10 {
        order += &proxy.get("/").await.body;
    }
    assert_eq!(order, "0102001020");
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_upstream_and_only_the_share_of_one_that_fails_moves() {
    let list: [Upstream; 3] = upstreams().await;
    let proxy = Proxy::start(&format!(r#"{{ {}, "balance": {{ "hash": "header:x-tenant" }} }}"#, to(&list)));
    let ask = async |tenant: usize| {
        proxy.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Tenant: {tenant}\r\nConnection: close\r\n\r\n")).await.body
    };
    let mut before = BTreeMap::new();
    for tenant in 0..60 {
        before.insert(tenant, ask(tenant).await);
        assert_eq!(ask(tenant).await, before[&tenant]);
    }
    for n in ["0", "1", "2"] {
        assert!(before.values().filter(|body| *body == n).count() > 8, "{before:?}");
    }
    let [first, second, third] = list;
    drop(second);
    // Its kept connections end with the test's tasks, not with its listener: they are closed by age.
    tokio::time::sleep(Duration::from_millis(4_200)).await;
    for tenant in 0..60 {
        let now = ask(tenant).await;
        assert!(before[&tenant] == "1" || now == before[&tenant], "{tenant}: {} {now}", before[&tenant]);
    }
    drop((first, third));
}

#[tokio::test]
async fn a_cookie_brings_the_client_back_and_is_rewritten_when_its_upstream_fails() {
    let well = Arc::new(AtomicBool::new(true));
    let mut list = Vec::new();
    for n in 0..3 {
        let well = Arc::clone(&well);
        list.push(
            Upstream::start(move |mut connection| {
                let well = Arc::clone(&well);
                async move {
                    while connection.request().await.is_some() {
                        if n == 0 && !well.load(SeqCst) {
                            return;
                        }
                        connection.send(format!("HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\n{n}")).await;
                    }
                }
            })
            .await,
        );
    }
    let proxy = Proxy::start(&format!(
        r#"{{ {}, "balance": "round_robin", "sticky": {{ "cookie": "up", "for": "1h" }}, "eject": {{ "after": 1 }} }}"#,
        to(&list)
    ));
    let first = proxy.get("/").await;
    let cookie = first.header("set-cookie").remove(0);
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"), "{cookie}");
    let pair = cookie.split(';').next().unwrap().to_owned();
    let with = |pair: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: x=y; {pair}\r\nConnection: close\r\n\r\n");
    for _ in 0..5 {
        let answer = proxy.exchange(with(&pair)).await;
        assert_eq!((answer.body.as_str(), answer.header("set-cookie").len()), ("0", 0));
    }
    well.store(false, SeqCst);
    let moved = proxy.exchange(with(&pair)).await;
    assert_ne!(moved.body, "0");
    let rewritten = moved.header("set-cookie").remove(0);
    assert_ne!(rewritten.split(';').next().unwrap(), pair);
    for forged in ["up=0000000000000000", "up=", "up=zzz", "up=ffffffffffffffffff"] {
        assert_eq!(proxy.exchange(with(forged)).await.header("set-cookie").len(), 1, "{forged}");
    }
}

/// An upstream that answers with this text: each request when the gate has a permit for it.
async fn gated(text: &'static str, gate: &Arc<Semaphore>) -> Upstream {
    let gate = Arc::clone(gate);
    Upstream::start(move |mut connection| {
        let gate = Arc::clone(&gate);
        async move {
            while connection.request().await.is_some() {
                gate.acquire().await.unwrap().forget();
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_cookie_stays_while_its_upstream_is_only_full() {
    let gate = Arc::new(Semaphore::new(1));
    let (busy, other) = (gated("busy", &gate).await, Upstream::saying("other").await);
    let proxy = Proxy::start(&format!(
        r#"{{ "to": [{{ "at": "{}", "weight": 1000 }}, "{}"], "balance": "round_robin", "limit": 1, "sticky": {{ "cookie": "up" }} }}"#,
        busy.url(),
        other.url()
    ));
    let first = proxy.get("/").await;
    assert_eq!(first.body, "busy");
    let pair = first.header("set-cookie")[0].split(';').next().unwrap().to_owned();
    let with = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {pair}\r\nConnection: close\r\n\r\n");
    // One request holds the only place.
    let mut holder = proxy.connect().await;
    holder.send(&with).await;
    until(|| busy.requests().len() == 2).await;
    let meanwhile = proxy.exchange(&with).await;
    assert_eq!((meanwhile.body.as_str(), meanwhile.header("set-cookie")), ("other", vec![]));
    gate.add_permits(2);
    holder.read_to_end().await;
    let back = proxy.exchange(&with).await;
    assert_eq!((back.body.as_str(), back.header("set-cookie")), ("busy", vec![]));
}

#[tokio::test]
async fn two_proxies_to_one_address_have_checks_and_results_of_their_own() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some(request) = connection.request().await {
            let status = if request.line().contains("/bad") { 500 } else { 200 };
            connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok")).await;
        }
    })
    .await;
    let app = |path: &str| {
        format!(r#"{{ "proxy": {{ "to": "{}", "health": {{ "path": "{path}", "every": "20ms", "fall": 1 }} }} }}"#, upstream.url())
    };
    let proxy = Proxy::pipeline(&format!(
        r#"{{ "app": {{ "routes": [{{ "match": {{ "path": "/down" }}, "app": {} }}, {{ "app": {} }}] }} }}"#,
        app("/bad"),
        app("/good")
    ));
    until(|| !proxy.logged("health checks failed").is_empty()).await;
    assert_eq!((proxy.get("/down").await.status, proxy.get("/").await.status), (503, 200));
}

#[tokio::test]
async fn requests_wait_for_a_place_and_too_many_are_refused() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated("ok", &gate).await;
    let proxy =
        Arc::new(Proxy::start(&format!(r#"{{ "to": "{}", "limit": 2, "queue": {{ "limit": 3, "wait": "1s" }} }}"#, upstream.url())));
    let ask = || {
        let address = proxy.address;
        tokio::spawn(async move {
            let mut client = super::support::Client(tokio::net::TcpStream::connect(address).await.unwrap());
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            Answer::read(&client.read_to_end().await)
        })
    };
    let status = || proxy.stack.lifecycle().status().remove(0).1;
    let mut asked: Vec<_> = (0..5).map(|_| ask()).collect();
    until(|| status()["queue"]["length"] == 3).await;
    assert_eq!(status()["endpoints"][0]["under way"], 2);
    let refused = ask().await.unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, vec!["1".to_owned()]));
    gate.add_permits(1);
    until(|| asked.iter().filter(|task| task.is_finished()).count() == 1).await;
    // Two are at the upstream, and two have waited too long.
    until(|| asked.iter().filter(|task| task.is_finished()).count() == 3).await;
    gate.add_permits(2);
    let mut statuses = Vec::new();
    for task in asked.drain(..) {
        statuses.push(task.await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 503, 503]);
    assert_eq!(upstream.requests().len(), 3);
    assert_eq!(status()["endpoints"][0]["under way"], 0);
    assert_eq!((&status()["refused"]["queue full"], &status()["refused"]["waited too long"]), (&1.into(), &2.into()));
}

#[tokio::test]
async fn an_upstream_that_fails_its_checks_gets_no_requests_until_it_passes_them() {
    let well = Arc::new(AtomicBool::new(true));
    let checked = Arc::clone(&well);
    let one = Upstream::start(move |mut connection| {
        let well = Arc::clone(&checked);
        async move {
            while let Some(request) = connection.request().await {
                let status = if request.line().contains("/healthz") && !well.load(SeqCst) { 500 } else { 200 };
                connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 1\r\n\r\n0")).await;
            }
        }
    })
    .await;
    let other = Upstream::saying("1").await;
    let proxy = Proxy::start(&format!(
        r#"{{ "to": ["{}", "{}"], "balance": "round_robin",
             "health": {{ "path": "/healthz?deep", "every": "50ms", "timeout": "1s", "rise": 2, "fall": 2 }} }}"#,
        one.url(),
        other.url()
    ));
    // Before the first check too.
    assert_eq!(proxy.get("/").await.status, 200);
    let state = || proxy.stack.lifecycle().status().remove(0).1["endpoints"][0]["state"].clone();
    until(|| one.requests().iter().any(|request| request.line() == "GET /healthz?deep HTTP/1.1")).await;
    let check = one.requests().into_iter().find(|request| request.line().contains("/healthz")).unwrap();
    assert_eq!(
        (check.header("host"), check.header("user-agent")),
        (vec![one.address.to_string()], vec!["ziggurat-health-check".to_owned()])
    );
    well.store(false, SeqCst);
    until(|| state() == "down").await;
    for _ in 0..6 {
        assert_eq!(proxy.get("/").await.body, "1");
    }
    assert_eq!(proxy.logged("health checks failed: status 500").len(), 1);
    well.store(true, SeqCst);
    until(|| state() == "up").await;
    until(|| !proxy.logged("health checks succeeded").is_empty()).await;
    let bodies = [proxy.get("/").await.body, proxy.get("/").await.body];
    assert!(bodies.contains(&"0".to_owned()), "{bodies:?}");
}

#[tokio::test]
async fn where_no_upstream_is_well_clients_hear_it_at_once() {
    let upstream = Upstream::answering("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "health": {{ "path": "/", "every": "20ms", "fall": 1 }} }}"#, upstream.url()));
    until(|| !proxy.logged("health checks failed").is_empty()).await;
    let answer = proxy.get("/").await;
    assert_eq!((answer.status, answer.header("retry-after").len()), (503, 1));
    assert!(answer.body.contains("no upstream server is healthy"), "{}", answer.body);
}

#[tokio::test]
async fn one_that_fails_is_left_alone_and_then_asked_once() {
    let fails = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&fails);
    let one = Upstream::start(move |mut connection| {
        let fails = Arc::clone(&broken);
        async move {
            while connection.request().await.is_some() {
                if fails.load(SeqCst) {
                    return;
                }
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0").await;
            }
        }
    })
    .await;
    let other = Upstream::saying("1").await;
    let proxy = Proxy::start(&format!(
        r#"{{ "to": ["{}", "{}"], "balance": "round_robin", "eject": {{ "after": 3, "for": "400ms" }} }}"#,
        one.url(),
        other.url()
    ));
    let ejections = || proxy.logged("ejected for ").len();
    for _ in 0..20 {
        assert_eq!(proxy.get("/").await.body, "1");
    }
    // Three failures eject it. After each ejection, a single request decides.
    let state = || proxy.stack.lifecycle().status().remove(0).1["endpoints"][0]["state"].clone();
    for _ in 0..2 {
        until(|| state() == "half open").await;
        for _ in 0..6 {
            assert_eq!(proxy.get("/").await.body, "1");
        }
    }
    assert!(ejections() >= 3);
    assert_eq!(one.requests().len(), 2 + ejections());
    fails.store(false, SeqCst);
    until(|| state() == "half open").await;
    while proxy.logged("no longer ejected").is_empty() {
        proxy.get("/").await;
    }
    let mut bodies = String::new();
    for _ in 0..6 {
        bodies += &proxy.get("/").await.body;
    }
    assert_eq!(bodies.matches('0').count(), 3, "{bodies}");
}

#[tokio::test]
async fn of_three_that_all_fail_one_is_ejected_and_the_only_one_never_is() {
    for (n, ejected) in [(3, 1), (1, 0)] {
        let mut list = Vec::new();
        for _ in 0..n {
            list.push(Upstream::start(|mut connection| async move { drop(connection.request().await) }).await);
        }
        let proxy = Proxy::start(&format!(r#"{{ {}, "eject": {{ "after": 2 }}, "retry": false }}"#, to(&list)));
        for _ in 0..30 {
            assert_eq!(proxy.get("/").await.status, 502);
        }
        assert_eq!(proxy.logged("ejected for").len(), ejected);
    }
}

#[tokio::test]
async fn names_are_looked_up_and_those_without_an_address_are_502_or_503() {
    let upstream = Upstream::saying("ok").await;
    let proxy = Proxy::start(&format!("\"http://localhost:{}\"", upstream.address.port()));
    assert_eq!(proxy.get("/").await.body, "ok");
    assert_eq!(upstream.requests()[0].header("host"), ["test"]);
    let proxy = Proxy::start(r#"{ "to": "http://no-such-host.invalid", "connect": "2s" }"#);
    let answer = proxy.get("/").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("no upstream server is known"), "{}", answer.body);
}

#[tokio::test]
async fn a_unix_socket_is_a_server_like_any() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = tokio::io::AsyncReadExt::read(&mut socket, &mut head).await.unwrap();
            assert!(String::from_utf8_lossy(&head[..read]).to_lowercase().contains("host: test"));
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").await;
        }
    });
    let proxy = Proxy::start(&format!("\"unix:{}\"", path.display()));
    assert_eq!(proxy.get("/").await.body, "unix");
}

#[tokio::test]
async fn nobody_listens_and_then_somebody_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start(&format!("\"http://{address}\""));
    assert_eq!(proxy.get("/").await.status, 502);
    let _upstream = Upstream::start_on(TcpListener::bind(address).await.unwrap(), |mut connection| async move {
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    });
    assert_eq!(proxy.get("/").await.status, 200);
}
