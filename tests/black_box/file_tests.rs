//! `"tests"` in the file: `ziggurat test`, and what `check` finds.

use std::process::Output;

use crate::support::{command, folder_of};

const SITE: &str = r#"{
  "layers": ["request_id", { "headers": { "response": { "set": { "x-stamp": "brick" } } } }],
  "apps": { "shop": { "wsgi": { "app": "shop:app", "workers": 1, "threads": 1 } } },
  "app": { "routes": [
    { "match": { "path": "/admin/*" }, "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": "shop", "as": "admin" },
    { "match": { "path": "/old/*" }, "app": { "redirect": "https://{host}/new{path}" } },
    { "match": { "path": "/upload" }, "layers": [{ "body_limit": "1KiB" }], "app": "shop" },
    { "app": "shop" }
  ] },
  "tests": [
TESTS
  ]
}
"#;

const APP: &str = r#"
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    status = "404 Not Found" if environ["PATH_INFO"] == "/none" else "200 OK"
    start_response(status, [("Content-Type", "text/plain"), ("X-Length", str(len(body))), ("X-Path", environ["PATH_INFO"])])
    return [b"the shop"]
"#;

const GOOD: &str = r#"
    { "name": "strangers stay outside", "request": "GET /admin/", "from": "203.0.113.9",
      "expect": { "refused_by": "access", "status": 403, "layers": ["request_id", "headers", "access"], "header": { "x-stamp": "brick", "location": false } } },
    { "name": "the office comes in", "request": "GET /admin/", "from": "10.1.1.1", "expect": { "route": "admin", "app": "shop", "layers": "access" } },
    { "name": "old addresses lead to new ones", "request": "https://shop.example/old/x?y", "expect": { "redirect": "https://shop.example/new/old/x", "status": 308 } },
    { "name": "long uploads are refused", "request": "POST /upload", "body_size": "2KiB", "expect": { "refused_by": "body_limit", "status": 413 } },
    { "name": "the rest is for the shop", "request": "/x", "headers": { "x-a": ["1", "2"] }, "cookies": { "c": "1" }, "expect": { "app": "wsgi", "not_layers": ["access", "body_limit"] } }"#;

fn run(tests: &str, arguments: &[&str]) -> (tempfile::TempDir, Output) {
    let folder = folder_of(&[("pipeline.json", &SITE.replace("TESTS", tests)), ("shop.py", APP)]);
    let output = command(folder.path()).args(arguments).output().unwrap();
    (folder, output)
}

fn shown(output: &Output) -> String {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    format!("{}{}exit {}\n", text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

#[test]
fn tests_that_hold_are_listed() {
    insta::assert_snapshot!(shown(&run(GOOD, &["test"]).1));
}

#[test]
fn a_test_that_fails_is_shown_at_its_line() {
    let tests = r#"
    { "name": "strangers come in", "request": "GET /admin/", "from": "203.0.113.9", "expect": { "status": 200, "not_layers": "access" } },
    { "name": "wrong order", "request": "GET /", "expect": { "layers": ["headers", "request_id"], "app": "redirect", "route": "admin" } },
    { "name": "elsewhere", "request": "GET /old/x", "expect": { "redirect": "/elsewhere", "header": { "location": false, "x-stamp": "mortar", "x-none": "1" } } },
    { "name": "refused", "request": "GET /old/x", "expect": { "refused_by": "headers" } }"#;
    insta::assert_snapshot!(shown(&run(tests, &["test"]).1));
    let checked = run(tests, &["check"]).1;
    let text = shown(&checked);
    assert!(text.contains("the test `strangers come in` fails: expected status 200, and it is 403 from `admin/access`"), "{text}");
    assert!(text.contains("pipeline.json:12:") && text.ends_with("exit 1\n"), "{text}");
}

#[test]
fn check_is_silent_about_tests_that_hold_or_are_open() {
    let open = r#"{ "name": "the app answers", "request": "/none", "expect": { "status": 404 } }"#;
    for tests in [GOOD, open] {
        assert_eq!(shown(&run(tests, &["check"]).1), "pipeline.json: ok\nexit 0\n");
    }
}

#[test]
fn the_built_stack_answers_with_live() {
    let tests = r#"
    { "name": "the app answers", "request": "/none", "expect": { "status": 404, "header": { "x-path": "/none", "x-stamp": "brick" } } },
    { "name": "the body arrives", "request": "POST /upload", "body_size": "1KiB", "expect": { "status": 200, "header": { "x-length": "1024" } } },
    { "name": "the app does not say this", "request": "/", "expect": { "status": 500, "header": { "x-length": false } } },
    { "name": "no layer refuses it", "request": "/", "expect": { "refused_by": "access" } }"#;
    let (_folder, output) = run(tests, &["test"]);
    let text = shown(&output);
    assert!(text.contains("test the app answers ... open: only `--live` can tell `status`, `header`"), "{text}");
    insta::assert_snapshot!(shown(&run(tests, &["test", "--live"]).1));
    let (_folder, output) = run(GOOD, &["test", "--live"]);
    assert!(shown(&output).contains("5 passed, 0 failed, 0 open"), "{}", shown(&output));
}

#[test]
fn results_are_written_for_ci() {
    let failing = GOOD.replace("\"status\": 413", "\"status\": 404");
    let (folder, output) = run(&failing, &["test", "--junit", "results.xml"]);
    assert_eq!(output.status.code(), Some(1));
    let xml = std::fs::read_to_string(folder.path().join("results.xml")).unwrap();
    let xml = roxmltree::Document::parse(&xml).unwrap();
    let cases: Vec<_> = xml.descendants().filter(|node| node.has_tag_name("testcase")).collect();
    assert_eq!(cases.len(), 5);
    let failed: Vec<_> = cases.iter().filter(|case| case.children().any(|child| child.has_tag_name("failure"))).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].attribute("name"), Some("long uploads are refused"));
    let seconds = |node: &roxmltree::Node<'_, '_>| node.attribute("time").unwrap().parse::<f64>().unwrap();
    assert!(cases.iter().all(|case| case.attribute("classname") == Some("pipeline") && seconds(case) >= 0.0));
    let suite = xml.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
    assert!((seconds(&suite) - cases.iter().map(seconds).sum::<f64>()).abs() < 1e-4);
}

#[test]
fn tests_that_are_none_are_refused() {
    let wrong = r#"
    { "name": "a", "request": "GET", "expect": { "status": 200 } },
    { "name": "b", "request": "/", "expect": {} },
    { "name": "c", "request": "/", "from": "nobody", "expect": { "statsu": 200 } },
    { "name": "d", "request": "/", "expect": { "status": "200" } },
    { "name": "e" }"#;
    insta::assert_snapshot!(shown(&run(wrong, &["check"]).1));
    let twice =
        r#"{ "name": "a", "request": "/", "expect": { "app": "shop" } }, { "name": "a", "request": "/", "expect": { "app": "shop" } }"#;
    assert!(shown(&run(twice, &["check"]).1).contains("two tests have the name `a`"));
    let (_folder, output) = run("", &["test"]);
    assert_eq!(shown(&output), "pipeline.json: no tests\nexit 0\n");
}
