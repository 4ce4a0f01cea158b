//! What the cache holds: within bounds, over reloads, and until it is purged.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};
use tower::service_fn;

use crate::cache::{Cache, Purge};
use crate::{
    Body, ClientCertificate, Context, IntoStage, Lifecycle, Middleware, Mount, Next, RemoteUser, Request, Response, Result, TestStack,
    TlsInfo, Upgrade, request,
};

/// An app whose every page is stored, and tagged by its path.
fn stack(options: &str) -> TestStack {
    TestStack::of::<Cache>(options).over(async |request| {
        let mut response = Response::new(Body::from("x".repeat(1000)));
        response.headers_mut().insert("cache-control", HeaderValue::from_static("max-age=60"));
        let tags = format!("page, {}", request.uri().path().trim_start_matches('/'));
        response.headers_mut().insert("cache-tag", HeaderValue::try_from(tags).unwrap());
        response
    })
}

async fn is_stored(stack: &TestStack, target: &str) -> bool {
    stack.get(target).header("cache-control", "only-if-cached").await.status() == StatusCode::OK
}

fn figure(stack: &TestStack, name: &str) -> u64 {
    let metrics = stack.metrics();
    let line = metrics.lines().find(|line| line.starts_with(&format!("ziggurat_cache_{name}{{"))).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn what_was_used_longest_ago_makes_room() {
    let stack = stack(r#"{"total_memory": "10KiB", "entry": "2KiB"}"#);
    for n in 0..4 {
        stack.get(&format!("/{n}")).await;
    }
    assert!(is_stored(&stack, "/0").await);
    stack.get("/4").await;
    stack.get("/5").await;
    assert!(is_stored(&stack, "/0").await && !is_stored(&stack, "/1").await);
    assert!(figure(&stack, "memory_bytes") <= 10 << 10);
    assert_eq!(figure(&stack, "evictions_total") + figure(&stack, "responses"), 6);
}

#[tokio::test]
async fn the_number_of_urls_is_bounded() {
    let stack = stack(r#"{"entries": 3}"#);
    for n in 0..10 {
        stack.get(&format!("/{n}")).await;
    }
    assert_eq!((figure(&stack, "urls"), figure(&stack, "evictions_total")), (3, 7));
    assert!(is_stored(&stack, "/9").await && !is_stored(&stack, "/6").await);
}

#[tokio::test]
async fn pages_that_are_not_stored_take_no_room_of_those_that_are() {
    let stack = TestStack::of::<Cache>(r#"{"entries": 1}"#).over(async |request| {
        let mut response = Response::new(Body::empty());
        if request.uri().path() == "/" {
            response.headers_mut().insert("cache-control", HeaderValue::from_static("max-age=60"));
        }
        response
    });
    stack.get("/").await;
    for n in 0..100 {
        stack.get(&format!("/{n}")).await;
    }
    assert!(is_stored(&stack, "/").await);
}

#[tokio::test]
async fn purging_removes_by_path_by_tag_and_all() {
    let stack = stack("{}");
    for target in ["/a", "/a?page=2", "/b", "/b/c", "/d"] {
        stack.get(target).await;
    }
    let purge =
        |purge: Purge| stack.lifecycle().purge(&purge).into_iter().map(|(place, count)| (place.to_string(), count)).collect::<Vec<_>>();
    let paths = |paths: &[&str]| Purge { paths: paths.iter().map(|&path| path.to_owned()).collect(), ..Purge::default() };
    assert_eq!(purge(paths(&["/a"])), [("cache".to_owned(), 2)]);
    assert!(!is_stored(&stack, "/a?page=2").await && is_stored(&stack, "/b").await);
    assert_eq!(purge(Purge { tags: vec!["b/c".to_owned()], ..Purge::default() }), [("cache".to_owned(), 1)]);
    assert!(!is_stored(&stack, "/b/c").await && is_stored(&stack, "/b").await);
    assert_eq!(purge(paths(&["http://other/*"])), [("cache".to_owned(), 0)]);
    assert_eq!(purge(paths(&["http://test/b*", "/none"])), [("cache".to_owned(), 1)]);
    assert_eq!(purge(Purge { all: true, ..Purge::default() }), [("cache".to_owned(), 1)]);
    assert_eq!((figure(&stack, "purged_total"), figure(&stack, "memory_bytes")), (5, 0));
}

#[tokio::test]
async fn what_is_stored_stays_over_a_reload_within_the_new_bounds() {
    let old = stack("{}");
    for n in 0..3 {
        old.get(&format!("/{n}")).await;
    }
    let reload = |options: &str| {
        let build = |lifecycle: &Lifecycle| -> Result<Next> {
            let layer: Cache = serde_json::from_str(options)?;
            let context = Context::new("cache", Path::new("/"), lifecycle.clone());
            let stage = layer.layer(&context)?;
            let place = "cache".into();
            Ok(stage.stage(&place, Next::new("app", service_fn(async |_: Request| Ok::<_, Infallible>(Response::default())))))
        };
        TestStack::new(old.lifecycle().successor(), build).unwrap()
    };
    let new = reload("{}");
    assert!(is_stored(&new, "/0").await);
    let small = reload(r#"{"entries": 1}"#);
    assert!(is_stored(&small, "/0").await && !is_stored(&small, "/2").await);
}

#[tokio::test]
async fn a_page_for_a_known_user_is_not_stored() {
    let stack = stack("{}");
    let user = RemoteUser { user: "ada".into(), auth_type: "Session".into() };
    stack.get("/").fact(user).await;
    assert!(!is_stored(&stack, "/").await);
}

#[tokio::test]
async fn a_page_for_the_owner_of_a_certificate_is_not_stored() {
    let stack = stack("{}");
    let tls = |client| TlsInfo { protocol: "TLSv1.3".into(), cipher: "x".into(), server_name: None, is_resumed: false, client };
    stack.get("/").fact(tls(Some(Arc::new(ClientCertificate::default())))).await;
    assert!(!is_stored(&stack, "/").await);
    stack.get("/").fact(tls(None)).await;
    assert!(is_stored(&stack, "/").await);
}

#[tokio::test]
async fn apps_at_two_prefixes_have_their_own_pages() {
    let stack = stack("{}");
    let mount = |prefix: &str| Mount { prefix: prefix.into(), target: format!("{prefix}/a").parse().unwrap() };
    stack.get("/a").fact(mount("/one")).await;
    assert!(stack.get("/a").fact(mount("/one")).await.header("cache-status").contains("hit"));
    assert!(stack.get("/a").fact(mount("/two")).await.header("cache-status").contains("uri-miss"));
}

#[tokio::test]
async fn tunnels_pass_untouched() {
    let stack = stack("{}");
    for _ in 0..2 {
        let connect = stack.send(request(Method::CONNECT, "example.org:443", Body::empty())).await;
        let upgrade = stack.get("/").fact(Upgrade::new([HeaderValue::from_static("websocket")])).await;
        assert!(connect.headers().get("cache-status").is_none() && upgrade.headers().get("cache-status").is_none());
    }
    assert!(!is_stored(&stack, "/").await);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refusal = |options: &str| TestStack::refusal::<Cache>(options).join("\n");
    assert!(refusal(r#"{"entry": "0B"}"#).starts_with("nothing is stored"));
    assert!(refusal(r#""1MiB""#).starts_with("one body may take `1MiB`, and all together `1MiB`"));
    assert!(refusal(r#"{"entries": 0}"#).starts_with("no such number of URLs can be stored"));
    assert_eq!(TestStack::refusal::<Cache>(r#"{"ignore_query": ["ok_*", "a*b", ""]}"#).len(), 2);
}
