//! What clients, the log and the metrics see of a rate limit.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{advance, sleep};

use super::*;
use crate::forwarded::Forwarded;
use crate::store::{Store, TestStore};
use crate::{Body, RemoteUser, TestResponse, TestStack};

fn stack(options: &str) -> TestStack {
    TestStack::of::<RateLimit>(options).over_text("in")
}

async fn from(stack: &TestStack, client: &str) -> TestResponse {
    let mut request = crate::request(http::Method::GET, "/", Body::empty());
    request.extensions_mut().get_mut::<ConnectionInfo>().unwrap().client = client.parse::<IpAddr>().ok();
    stack.send(request).await
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_and_the_headers_say_what_is_left() {
    let stack = stack(r#"{"allow": "10/min", "burst": 3}"#);
    for left in ["2", "1", "0"] {
        let passed = stack.get("/").await;
        assert_eq!(passed.text(), "in");
        assert_eq!(passed.header("ratelimit-policy"), r#""rate_limit";q=3;w=18"#);
        assert_eq!(passed.header("ratelimit"), format!(r#""rate_limit";r={left};t=6"#));
        assert_eq!(passed.header("retry-after"), "");
    }
    advance(Duration::from_millis(3_500)).await;
    let refused = stack.get("/").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.text().contains("try again in 3 s"), "{}", refused.text());
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit")), ("3", r#""rate_limit";r=0;t=3"#));
    assert_eq!(refused.header("ratelimit-policy"), r#""rate_limit";q=3;w=18"#);
    advance(Duration::from_secs(3)).await;
    assert_eq!(stack.get("/").await.status(), StatusCode::OK);
    assert_eq!(stack.get("/").await.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn in_the_long_run_as_many_pass_as_the_rate_says() {
    let stack = stack(r#""100/s""#);
    let mut passed = 0;
    for _ in 0..3_000 {
        passed += u32::from(stack.get("/").await.status().is_success());
        advance(Duration::from_millis(2)).await;
    }
    // The burst, and 100 in each of 6 seconds; the last request comes 2 ms before their end.
    assert_eq!(passed, 699);
}

#[tokio::test(start_paused = true)]
async fn each_client_has_its_own_limit_and_an_ipv6_client_one_for_its_network() {
    let stack = stack(r#""1/min""#);
    assert_eq!(from(&stack, "192.0.2.1").await.status(), 200);
    assert_eq!(from(&stack, "192.0.2.2").await.status(), 200);
    assert_eq!(from(&stack, "::ffff:192.0.2.2").await.status(), 429);
    assert_eq!(from(&stack, "2001:db8:1:2::1").await.status(), 200);
    assert_eq!(from(&stack, "2001:db8:1:2:3::1").await.status(), 429);
    assert_eq!(from(&stack, "2001:db8:1:3::1").await.status(), 200);
    // On Unix sockets.
    assert_eq!(from(&stack, "").await.status(), 200);
    assert_eq!(from(&stack, "").await.status(), 429);
}

#[tokio::test(start_paused = true)]
async fn the_client_is_the_one_that_a_trusted_proxy_names() {
    let stack = TestStack::of::<Forwarded>(r#""192.0.2.1""#).then::<RateLimit>(r#""1/min""#).over_text("in");
    for (client, status) in [("203.0.113.7", 200), ("203.0.113.8", 200), ("203.0.113.7", 429)] {
        assert_eq!(stack.get("/").header("x-forwarded-for", client).await.status(), status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_the_key_is_never_unlimited() {
    for per in ["header:x-api-key", "cookie:sid", "user"] {
        let stack = stack(&format!(r#"{{"allow": "1/min", "per": "{per}"}}"#));
        assert_eq!(stack.get("/").await.status(), 200);
        assert_eq!(stack.get("/").header("x-api-key", "").header("cookie", "sid=").await.status(), 429, "{per}");
        assert_eq!(from(&stack, "192.0.2.2").await.status(), 200, "{per}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_and_users_and_paths_have_limits_of_their_own() {
    let by = |per: &str| stack(&format!(r#"{{"allow": "1/min", "per": {per}}}"#));
    let keys = by(r#""header:x-api-key""#);
    for (key, status) in [("a", 200), ("b", 200), ("a", 429)] {
        assert_eq!(keys.get("/").header("x-api-key", key).await.status(), status);
    }
    let users = by(r#""user""#);
    for (user, status) in [("ann", 200), ("bob", 200), ("ann", 429)] {
        let user = RemoteUser { user: user.into(), auth_type: "Basic".into() };
        assert_eq!(users.get("/").fact(user).await.status(), status);
    }
    let paths = by(r#"["client", "path"]"#);
    for (path, status) in [("/a", 200), ("/b", 200), ("/%61?x", 429)] {
        assert_eq!(paths.get(path).await.status(), status, "{path}");
    }
    assert_eq!(from(&paths, "192.0.2.9").await.status(), 200);
    let all = by("[]");
    assert_eq!(from(&all, "192.0.2.1").await.status(), 200);
    assert_eq!(from(&all, "192.0.2.2").await.status(), 429);
}

#[tokio::test(start_paused = true)]
async fn exempt_networks_are_not_limited_and_use_nothing_up() {
    let stack = stack(r#"{"allow": "1/min", "per": [], "exempt": ["192.0.2.0/24", "unix"]}"#);
    for _ in 0..3 {
        let passed = stack.get("/").await;
        assert_eq!((passed.status(), passed.header("ratelimit")), (StatusCode::OK, ""));
    }
    assert_eq!(from(&stack, "198.51.100.1").await.status(), 200);
    assert_eq!(from(&stack, "198.51.100.1").await.status(), 429);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_refuses_nobody_and_says_whom_it_would() {
    let stack = stack(r#"{"allow": "1/min", "dry_run": true}"#);
    for _ in 0..10 {
        let passed = stack.get("/").await;
        assert_eq!((passed.text().as_str(), passed.header("ratelimit"), passed.header("ratelimit-policy")), ("in", "", ""));
    }
    let metrics = stack.metrics();
    assert!(metrics.contains("ziggurat_rate_limit_refused_total{place=\"rate_limit\",dry_run=\"true\"} 9"), "{metrics}");
    assert!(metrics.contains("ziggurat_rate_limit_allowed_total{place=\"rate_limit\"} 1"), "{metrics}");
    sleep(Duration::from_secs(11)).await;
    let log = stack.log();
    assert!(log.len() == 2 && log[0].contains("over the limit of 1/min: a request of 192.0.2.1 (it passes: `dry_run`)"), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_refusals_is_two_lines_in_the_log_and_counted() {
    let stack = stack(r#"{"allow": "1/h", "per": "header:x-api-key"}"#);
    for _ in 0..1_000 {
        stack.get("/").header("x-api-key", "s3cr3t").await;
    }
    sleep(Duration::from_secs(11)).await;
    let log = stack.log();
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(log[0].contains("status=429") && log[0].ends_with("over the limit of 1/h: a request of 192.0.2.1"), "{log:?}");
    assert!(log[1].contains("998 more requests") && !log.join("").contains("s3cr3t"), "{log:?}");
    let metrics = stack.metrics();
    for line in [
        "ziggurat_rate_limit_refused_total{place=\"rate_limit\",dry_run=\"false\"} 999",
        "ziggurat_rate_limit_keys{place=\"rate_limit\"} 1",
        "ziggurat_rate_limit_overflow_total{place=\"rate_limit\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_limits_tell_of_both() {
    let stack = TestStack::of::<RateLimit>(r#""100/s""#).then::<RateLimit>(r#""1000/h""#).over_text("in");
    let response = stack.get("/").await;
    let policies: Vec<_> = response.headers().get_all("ratelimit-policy").iter().collect();
    assert_eq!(policies, [r#""rate_limit";q=1000;w=3600"#, r#""rate_limit#2";q=100;w=1"#]);
    assert_eq!(response.headers().get_all("ratelimit").iter().count(), 2);
}

fn with_store(options: &str, store: TestStore) -> TestStack {
    let store: Arc<dyn Store> = Arc::new(store);
    TestStack::of::<RateLimit>(options).host(store).over_text("in")
}

#[tokio::test(start_paused = true)]
async fn the_store_decides_if_there_is_one_and_is_waited_for() {
    let stack = with_store(r#""1/min""#, TestStore::answering());
    let started = tokio::time::Instant::now();
    assert_eq!(stack.get("/").await.status(), 200);
    assert_eq!(started.elapsed(), TestStore::ANSWERS_AFTER);
    let refused = stack.get("/").await;
    assert_eq!((refused.status(), refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "60"));
    let metrics = stack.metrics();
    assert!(metrics.contains("ziggurat_store_missed_total{place=\"rate_limit\",decision=\"local\"} 0"), "{metrics}");
    assert!(metrics.contains("ziggurat_rate_limit_keys{place=\"rate_limit\"} 0"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_raised_holds_for_what_the_store_knows_of_the_old_one() {
    let store = TestStore::answering();
    let before = with_store(r#""1/h""#, store.clone());
    assert_eq!([before.get("/").await.status(), before.get("/").await.status()], [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]);
    let after = with_store(r#""60/min""#, store);
    let refused = after.get("/").await;
    assert_eq!((refused.status(), refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(after.get("/").await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_not_shared_does_not_ask_the_store() {
    let stack = with_store(r#"{"allow": "1/min", "shared": false}"#, TestStore::away());
    assert_eq!((stack.get("/").await.status(), stack.get("/").await.status()), (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS));
    assert!(!stack.metrics().contains("ziggurat_store_missed_total"));
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_of_the_store_requests_get_what_the_options_say() {
    for (mode, statuses) in [("local", [200, 429]), ("allow", [200, 200]), ("refuse", [503, 503])] {
        let stack = with_store(&format!(r#"{{"allow": "1/min", "on_store_failure": "{mode}"}}"#), TestStore::away());
        for status in statuses {
            let response = stack.get("/").await;
            assert_eq!(response.status(), status, "{mode}");
            assert_eq!(response.header("ratelimit").is_empty(), mode != "local", "{mode}");
            assert_eq!(response.header("retry-after") == "1", mode == "refuse", "{mode}");
        }
        let metrics = stack.metrics();
        assert!(metrics.contains(&format!("ziggurat_store_missed_total{{place=\"rate_limit\",decision=\"{mode}\"}} 2")), "{metrics}");
        let is_logged = stack.log().iter().any(|line| line.contains("the store gives no answer: it is away"));
        assert_eq!(is_logged, mode == "refuse", "{:?}", stack.log());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_refuses_nobody_without_the_store_either() {
    let stack = with_store(r#"{"allow": "1/min", "dry_run": true, "on_store_failure": "refuse"}"#, TestStore::away());
    assert_eq!(stack.get("/").await.status(), 200);
}

#[test]
fn limits_that_cannot_be_kept_are_refused() {
    let refusal = TestStack::refusal::<RateLimit>;
    for (options, why) in [
        (r#"{"allow": "10/m"}"#, "times are `s`, `min`, `h`, `d`"),
        (r#"{"allow": 10}"#, "has no time"),
        (r#"{"allow": "0/s"}"#, "between 1 and 1000000"),
        (r#"{"allow": "1/s", "burst": 0}"#, "no such `burst`"),
        (r#"{"allow": "1/d", "burst": 1000}"#, "so many requests come back after more than a year"),
        (r#"{"allow": "1/s", "per": "ip"}"#, "write `client`"),
        (r#"{"allow": "1/s", "exempt": "10.0.0.1/8"}"#, "10.0.0.0/8"),
        ("{}", "allow"),
    ] {
        let findings = refusal(options);
        assert!(findings[0].contains(why), "{options}: {findings:?}");
    }
}
