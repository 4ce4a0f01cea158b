//! What rules make of targets.

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::access_log::AccessLog;
use crate::{Body, TestStack, TestStage, request};

fn stage(options: &str) -> TestStage {
    TestStack::of::<Rewrite>(options)
}

/// Answers with the target that the app sees.
fn stack(options: &str) -> TestStack {
    stage(options).over(async |request: Request| Response::new(Body::from(request.uri().to_string())))
}

async fn target(options: &str, target: &str) -> String {
    let response = stack(options).get(target).await;
    if response.status().is_success() { response.text() } else { response.status().as_str().to_owned() }
}

#[tokio::test]
async fn a_prefix_is_exchanged_on_the_border_of_a_segment() {
    let rule = r#"{"from": "/old/*", "to": "/new/*"}"#;
    for (sent, seen) in [
        ("/old", "/new"),
        ("/old/", "/new/"),
        ("/old/a/b?x=1", "/new/a/b?x=1"),
        ("/olds", "/olds"),
        ("/a/old/b", "/a/old/b"),
        ("/old//x", "/new//x"),
        ("/%6fld/a%2Fb%20%C3%A9", "/new/a%2Fb%20%C3%A9"),
        ("/old%2Fa", "/new%2Fa"),
        ("/old/%252e", "/new/%252e"),
    ] {
        assert_eq!(target(rule, sent).await, seen, "{sent}");
    }
}

#[tokio::test]
async fn the_root_is_a_prefix_and_a_target() {
    assert_eq!(target(r#"{"from": "/*", "to": "/v2/*"}"#, "/").await, "/v2/");
    let up = r#"{"from": "/app/*", "to": "/*"}"#;
    for (sent, seen) in [("/app", "/"), ("/app/", "/"), ("/app/x", "/x"), ("/app%2fx", "/x"), ("/app?y", "/?y")] {
        assert_eq!(target(up, sent).await, seen, "{sent}");
    }
}

#[tokio::test]
async fn an_exact_path_is_only_that_path() {
    let rule = r#"{"from": "/start", "to": "/index.html"}"#;
    for (sent, seen) in [("/start?a", "/index.html?a"), ("/st%61rt", "/index.html"), ("/start/", "/start/"), ("/start/x", "/start/x")] {
        assert_eq!(target(rule, sent).await, seen, "{sent}");
    }
}

#[tokio::test]
async fn a_regular_expression_takes_whole_paths_without_their_encoding() {
    let rule = r#"{"regex": "/u/(?<id>[0-9]+)(/.*)?", "to": "/users/{id}{2}"}"#;
    for (sent, seen) in [
        ("/u/7", "/users/7"),
        ("/u/7/a%2Fb", "/users/7/a%2Fb"),
        ("/%75/7", "/users/7"),
        ("/u/7x", "/u/7x"),
        ("/x/u/7", "/x/u/7"),
        ("/u/7/%0Aadmin", "/users/7/%0Aadmin"),
    ] {
        assert_eq!(target(rule, sent).await, seen, "{sent}");
    }
}

#[tokio::test]
async fn an_encoded_line_end_is_no_way_around_a_rule() {
    assert_eq!(target(r#"{"regex": "/private/.*", "to": "/denied"}"#, "/private/%0a").await, "/denied");
    assert_eq!(target(r#"{"from": "/private/*", "to": "/denied"}"#, "/private/%0a%ff").await, "/denied");
}

#[tokio::test]
async fn the_first_rule_that_matches_applies_and_its_result_meets_no_other() {
    let rules = r#"[{"from": "/a", "to": "/b"}, {"from": "/b", "to": "/c"}, {"from": "/a", "to": "/d"}]"#;
    assert_eq!((target(rules, "/a").await.as_str(), target(rules, "/b").await.as_str()), ("/b", "/c"));
}

#[tokio::test]
async fn the_query_stays_is_replaced_or_grows() {
    for (to, with, without) in [
        ("/n", "/n?a=1&b", "/n"),
        ("/n{query}", "/n?a=1&b", "/n"),
        ("/n?", "/n", "/n"),
        ("/n?p=2", "/n?p=2", "/n?p=2"),
        ("/n?p=2{query}", "/n?p=2&a=1&b", "/n?p=2"),
        ("/n?{query}", "/n?a=1&b", "/n"),
    ] {
        let rule = format!(r#"{{"from": "/o", "to": "{to}"}}"#);
        assert_eq!(target(&rule, "/o?a=1&b").await, with, "{to}");
        assert_eq!(target(&rule, "/o").await, without, "{to}");
    }
}

#[tokio::test]
async fn a_gap_in_a_query_is_one_value() {
    let rule = r#"{"regex": "/tags/(?<tag>.+)", "to": "/search?tag={tag}&from={path}{query}"}"#;
    let value = "a%26admin%3D1%26%2B%C3%A9";
    assert_eq!(target(rule, "/tags/a&admin=1%26+%C3%A9").await, format!("/search?tag={value}&from=/tags/{value}"));
    assert_eq!(target(rule, "/tags/x?y").await, "/search?tag=x&from=/tags/x&y");
}

#[tokio::test]
async fn dot_segments_are_refused_before_and_after() {
    let rule = r#"{"from": "/old/*", "to": "/new/*"}"#;
    for sent in ["/old/../x", "/other/./x", "/old/%2e%2E/x", "/old/..%2fx", "/old/..%5cx"] {
        assert_eq!(target(rule, sent).await, "400", "{sent}");
    }
    assert_eq!(target(r#"{"regex": "/(.*)x", "to": "/a/{1}"}"#, "/..x").await, "400");
    assert_eq!(target(rule, "*").await, "*");
}

#[tokio::test]
async fn a_result_is_bounded() {
    let rule = r#"{"regex": "/(.*)", "to": "/{1}{1}{1}{1}{1}"}"#;
    assert_eq!(target(rule, &format!("/{}", "a".repeat(10_000))).await, "414");
    assert_eq!(target(r#"{"regex": "/(.).*", "to": "/{1}"}"#, "/é").await, "400");
}

/// What the app below is told: target, what the client sent, mount.
fn facts(request: &Request) -> (String, String, Option<(String, String)>) {
    let (uri, facts) = (request.uri(), request.extensions());
    let mount = facts.get::<Mount>().map(|mount| (mount.prefix.to_string(), mount.target.to_string()));
    (uri.to_string(), OriginalUri::of(uri, facts).to_string(), mount)
}

#[test]
fn what_the_client_sent_is_kept_with_and_without_a_mount() {
    let rule = |options| serde_json::from_str::<Rewrite>(options).unwrap().compiled().into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    let (outer, inner) = (rule(r#"{"from": "/old/*", "to": "/new/*"}"#), rule(r#"{"from": "/new/*", "to": "/newer/*"}"#));
    let mut plain = request(Method::GET, "/old/a?x", "");
    rewrite(&mut plain, &outer).unwrap();
    rewrite(&mut plain, &inner).unwrap();
    assert_eq!(facts(&plain), ("/newer/a?x".into(), "/old/a?x".into(), None));
    let mut mounted = request(Method::GET, "/old/a?x", "");
    mounted.extensions_mut().insert(Mount { prefix: "/blog".into(), target: "/blog/old/a?x".parse().unwrap() });
    rewrite(&mut mounted, &outer).unwrap();
    assert_eq!(facts(&mounted), ("/new/a?x".into(), "/blog/old/a?x".into(), Some(("/blog".into(), "/blog/new/a?x".into()))));
    let mut absolute = request(Method::GET, "http://h:80/old", "");
    rewrite(&mut absolute, &outer).unwrap();
    assert_eq!(facts(&absolute), ("http://h:80/new".into(), "http://h:80/old".into(), None));
}

#[test]
fn a_name_of_a_route_above_is_filled_in() {
    let options: Rewrite = serde_json::from_str(r#"{"from": "/*", "to": "/{id}/x?id={id}&{none}"}"#).unwrap();
    assert_eq!(options.path_params().iter().map(|used| used.name.as_str()).collect::<Vec<_>>(), ["id", "id", "none"]);
    let rules: Vec<_> = options.compiled().into_iter().map(Result::unwrap).collect();
    let mut request = request(Method::GET, "/users/a%2F&b", "");
    let mut params = PathParams::default();
    params.insert("id".into(), &DecodedPath::new("/users/a%2F&b"), 7..11);
    request.extensions_mut().insert(params);
    rewrite(&mut request, &rules).unwrap();
    assert_eq!(request.uri(), "/a%2F&b/x?id=a/%26b&");
}

#[tokio::test]
async fn the_access_log_below_shows_what_the_client_sent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let log = format!(r#"{{"format": "common", "to": "{}"}}"#, file.display());
    let stack = stage(r#"{"from": "/old", "to": "/new"}"#).then::<AccessLog>(&log).over_text("");
    stack.get("/old?x").await;
    stack.shutdown().await;
    let written = std::fs::read_to_string(file).unwrap();
    assert!(written.contains("GET /old?x HTTP/1.1"), "{written}");
}

#[test]
fn rules_that_cannot_be_meant_are_refused_with_a_hint() {
    for options in [
        "null",
        r#"{"from": "/a"}"#,
        r#"{"to": "/a"}"#,
        r#"{"from": "/a", "regex": "/b", "to": "/c"}"#,
        r#"{"from": "/a", "to": "/b", "rules": [{"from": "/c", "to": "/d"}]}"#,
        r#"{"from": "a", "to": "/b"}"#,
        r#"{"from": "/a*", "to": "/b"}"#,
        r#"{"from": "/a%20b", "to": "/b"}"#,
        r#"{"from": "/a?b", "to": "/b"}"#,
        r#"{"from": "/a/../b", "to": "/b"}"#,
        r#"{"from": "/a", "to": "/b/*"}"#,
        r#"{"from": "/a/*", "to": "/*/b"}"#,
        r#"{"from": "/a/*", "to": "/b/{1}"}"#,
        r#"{"from": "/a/*", "to": "/b/{a-b}"}"#,
        r#"{"regex": "/(a)", "to": "/b/{2}"}"#,
        r#"{"regex": "/(a)", "to": "/b/{0}"}"#,
        r#"{"regex": "/(a)", "to": "/b/*"}"#,
        r#"{"regex": "/(a", "to": "/b"}"#,
        r#"{"regex": "/a)|(/b", "to": "/b"}"#,
        r#"{"from": "/a", "to": "https://example.com/"}"#,
        r#"{"from": "/a", "to": "//b"}"#,
        r#"{"from": "/a", "to": "/b c"}"#,
        r#"{"from": "/a", "to": "/b%"}"#,
        r#"{"from": "/a", "to": "/é"}"#,
        r#"{"from": "/a", "to": "/b/%2e./c"}"#,
        r#"{"from": "/a", "to": "/{query}b"}"#,
        r#"{"from": "/a", "to": "/b{"}"#,
    ] {
        let refusal = TestStack::refusal::<Rewrite>(options);
        assert!(refusal.len() == 1 && refusal[0].contains("hint: "), "{options}: {refusal:?}");
    }
}

proptest! {
    /// Whatever the client sends, the app sees a target in origin form without dot segments.
    #[test]
    fn a_result_is_always_a_sound_path(path in r"(/|\.|%2e|%2F|%5c|%0d%0a|%00|%|[a-c]|\?|&|é){0,16}", nth in 0..4_usize) {
        let rules = [
            r#"{"from": "/*", "to": "/*"}"#,
            r#"{"regex": "/(.*?)a(.*)", "to": "/{2}{1}"}"#,
            r#"{"regex": "/(.*)", "to": "{path}?x={1}{query}"}"#,
            r#"[{"from": "/a/*", "to": "/b/*"}, {"regex": "(?:/[^/]*)(.*)", "to": "/c{1}"}]"#,
        ];
        let options = match rules[nth].starts_with('[') {
            true => format!(r#"{{"rules": {}}}"#, rules[nth]),
            false => rules[nth].to_owned(),
        };
        let rules: Vec<_> = serde_json::from_str::<Rewrite>(&options).unwrap().compiled().into_iter().collect::<Result<_, _>>().unwrap();
        if let Ok(uri) = format!("/{path}").parse::<Uri>() {
            let mut request = request(Method::GET, "/", "");
            *request.uri_mut() = uri.clone();
            if rewrite(&mut request, &rules).is_ok() {
                let target = request.uri().path_and_query().unwrap().as_str();
                prop_assert!(target.starts_with('/') && !target.contains(['\r', '\n', '\0', ' ']));
                prop_assert!(!DecodedPath::new(request.uri().path()).has_dot_segment());
                prop_assert_eq!(OriginalUri::of(request.uri(), request.extensions()), &uri);
            }
        }
    }
}
