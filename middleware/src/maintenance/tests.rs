//! Who is let in while the site is closed, what the others get, and when it closes.

use std::fs;
use std::time::Duration;

use tokio::time::advance;

use super::*;
use crate::errors::Errors;
use crate::forwarded::Forwarded;
use crate::{TestResponse, TestStack};

const KEY: &str = "0123456789abcdef";

async fn closed(options: &str, target: &str, headers: &[(&str, &str)]) -> TestResponse {
    let stack = TestStack::of::<Maintenance>(options).over_text("the app");
    let mut request = stack.get(target);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.await
}

#[tokio::test(start_paused = true)]
async fn the_site_is_closed_while_the_file_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maintenance.on");
    let stack = TestStack::of::<Maintenance>(&format!("\"{}\"", file.display())).over_text("the app");
    let status = async || stack.get("/").await.status().as_u16();
    assert_eq!(status().await, 200);
    fs::write(&file, "").unwrap();
    assert_eq!(status().await, 200, "the file is looked for once a second");
    advance(Duration::from_secs(1)).await;
    assert_eq!([status().await, status().await], [503, 503]);
    assert!(stack.metrics().contains("ziggurat_maintenance_closed{place=\"maintenance\"} 1"), "{}", stack.metrics());
    assert_eq!(stack.lifecycle().status()[0].1, json!({ "closed": true }));
    fs::remove_file(&file).unwrap();
    advance(Duration::from_secs(1)).await;
    assert_eq!(status().await, 200);
    assert!(stack.metrics().contains("ziggurat_maintenance_refused_total{place=\"maintenance\"} 2"), "{}", stack.metrics());
    let path = file.display();
    let expected = [format!("INFO closed for maintenance: `{path}` is there"), format!("INFO open again: `{path}` is gone")];
    assert_eq!(stack.log(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_becomes_a_file_opens_the_site_and_one_that_cannot_be_searched_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let file = run.join("maintenance.on");
    fs::create_dir(&run).unwrap();
    fs::write(&file, "").unwrap();
    let stack = TestStack::of::<Maintenance>(&format!("\"{}\"", file.display())).over_text("the app");
    let status = async || {
        advance(Duration::from_secs(1)).await;
        stack.get("/").await.status().as_u16()
    };
    assert_eq!(status().await, 503);
    fs::remove_dir_all(&run).unwrap();
    // A link to itself leads nowhere, and whether the file is there is not known.
    std::os::unix::fs::symlink("run", &run).unwrap();
    assert_eq!([status().await, status().await], [503, 503]);
    assert_eq!(stack.log().iter().filter(|line| line.contains("the site stays closed")).count(), 1, "{:?}", stack.log());
    fs::remove_file(&run).unwrap();
    fs::write(&run, "").unwrap();
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn a_closed_site_says_when_to_come_again_and_is_not_cached() {
    let response = closed(r#"{ "on": true, "retry_after": "5m", "message": "back at noon" }"#, "/", &[]).await;
    assert_eq!((response.status().as_u16(), response.text().as_str()), (503, "503 Service Unavailable\nback at noon\n"));
    assert_eq!((response.header("retry-after"), response.header("cache-control")), ("300", "no-store"));
    assert_eq!(closed(r#"{ "on": false }"#, "/", &[]).await.text(), "the app");
}

#[tokio::test]
async fn networks_pass_and_a_trusted_proxy_names_the_client() {
    let options = |allow: &str| format!(r#"{{ "on": true, "allow": "{allow}" }}"#);
    assert_eq!(closed(&options("192.0.2.0/24"), "/", &[]).await.status(), 200);
    assert_eq!(closed(&options("198.51.100.0/24"), "/", &[]).await.status(), 503);
    let stack = TestStack::of::<Forwarded>(r#""192.0.2.1""#).then::<Maintenance>(&options("198.51.100.0/24")).over_text("the app");
    assert_eq!(stack.get("/").header("x-forwarded-for", "198.51.100.7").await.status(), 200);
    assert_eq!(stack.get("/").header("x-forwarded-for", "203.0.113.7").await.status(), 503);
}

#[tokio::test]
async fn the_key_passes_in_a_header_or_a_cookie_and_nothing_else_does() {
    let options = format!(r#"{{ "on": true, "key": "{KEY}" }}"#);
    let status = async |name: &str, value: &str| closed(&options, "/", &[(name, value)]).await.status().as_u16();
    assert_eq!(status("x-maintenance-key", KEY).await, 200);
    assert_eq!(status("cookie", &format!("a=b; maintenance_key={KEY}")).await, 200);
    assert_eq!(status("cookie", &format!("theme=ä; maintenance_key={KEY}")).await, 200);
    for (name, value) in [
        ("x-maintenance-key", ""),
        ("x-maintenance-key", "0123456789abcdeg"),
        ("x-maintenance-key", "0123456789abcdef0"),
        ("cookie", "maintenance_key=0123456789ABCDEF"),
        ("cookie", "other=0123456789abcdef"),
        ("authorization", KEY),
    ] {
        assert_eq!(status(name, value).await, 503, "{name}: {value}");
    }
    assert_eq!(closed(&options, &format!("/?maintenance_key={KEY}"), &[]).await.status(), 503);
    assert_eq!(closed(r#"{ "on": true }"#, "/", &[("x-maintenance-key", "")]).await.status(), 503);
}

#[tokio::test]
async fn open_paths_stay_open_and_lead_nowhere_else() {
    let options = r#"{ "on": true, "open": ["/healthz", "/static/*"] }"#;
    for path in ["/healthz", "/healthz?full", "/static", "/static/a.css"] {
        assert_eq!(closed(options, path, &[]).await.status(), 200, "{path}");
    }
    for path in ["/", "/healthz/", "/healthz/x", "/static/../admin", "/static/%2e%2e/admin", "/statics"] {
        assert_eq!(closed(options, path, &[]).await.status(), 503, "{path}");
    }
}

#[tokio::test]
async fn the_page_goes_to_clients_that_take_it() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("closed.html");
    fs::write(&page, "<p>{status}: {detail}</p>").unwrap();
    let options = format!(r#"{{ "on": true, "page": "{}", "message": "back < noon" }}"#, page.display());
    let html = closed(&options, "/", &[("accept", "text/html,*/*;q=0.8")]).await;
    assert_eq!((html.status().as_u16(), html.text().as_str()), (503, "<p>503: back &lt; noon</p>"));
    assert_eq!(
        (html.header("content-type"), html.header("retry-after"), html.header("vary")),
        ("text/html; charset=utf-8", "60", "accept")
    );
    let json = closed(&options, "/", &[("accept", "application/json")]).await;
    assert_eq!((json.status().as_u16(), json.header("content-type")), (503, "application/problem+json"));
    assert!(json.text().contains("back < noon"), "{}", json.text());
    assert_eq!(closed(&options, "/", &[("accept", "text/plain")]).await.text(), "503 Service Unavailable\nback < noon\n");
}

#[tokio::test]
async fn the_layers_own_page_stays_below_an_errors_layer_which_else_gives_one() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("own.html", "own"), ("errors.html", "errors")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let pages = format!(r#"{{ "pages": {{ "5xx": "{}" }}, "of": "all" }}"#, folder.path().join("errors.html").display());
    let text =
        async |options: &str| TestStack::of::<Errors>(&pages).then::<Maintenance>(options).over_text("the app").get("/").await.text();
    let own = format!(r#"{{ "on": true, "page": "{}" }}"#, folder.path().join("own.html").display());
    assert_eq!((text(&own).await.as_str(), text(r#"{ "on": true }"#).await.as_str()), ("own", "errors"));
}

#[test]
fn options_that_cannot_be_meant_are_refused() {
    let refusal = |options: &str| TestStack::refusal::<Maintenance>(options).join("; ");
    assert!(refusal("{}").contains("nothing ever closes the site"), "{}", refusal("{}"));
    let key = refusal(r#"{ "on": true, "key": "0123456789abcde" }"#);
    assert!(key.contains("fewer than 16 characters") && !key.contains("0123456789abcde"), "{key}");
    assert!(refusal(r#"{ "on": true, "key": "0123456789abcdef;" }"#).contains("a cookie cannot carry the key"));
    assert!(refusal(r#"{ "on": true, "retry_after": "500ms" }"#).contains("whole seconds"));
    assert!(refusal(r#"{ "on": true, "page": "/nowhere/closed.html" }"#).contains("cannot use `/nowhere/closed.html` as a page"));
    assert!(refusal(r#"{ "on": true, "open": "healthz" }"#).contains("begins with `/`"));
}
