//! The app `dashboard` in a real browser, Debian's chromium.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::Program;

const PIPELINE: &str = r#"{
    "listen": "127.0.0.1:0",
    "server": { "timing": true },
    "layers": ["request_id", { "headers": {}, "as": "outer" }],
    "app": { "routes": [
        { "match": { "path": "/dashboard", "client": "127.0.0.1" }, "app": { "dashboard": {} } },
        { "app": { "respond": 503 } }
    ] }
}"#;

/// A path that would be a script if it were HTML.
const HOSTILE: &str = "/%3Cimg%20src=x%20onerror=%22document.title='taken'%22%3E<b>bold</b>&lt;";

/// The page as it is after its scripts have run for a while, and what the browser has logged. `None` if there is no chromium.
pub(crate) fn page(program: &Program, target: &str, options: &[&str]) -> Option<(String, String)> {
    let mut browser = Command::new("timeout");
    let profile = tempfile::tempdir().unwrap();
    browser.args([
        "-k",
        "1",
        "60",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        "--v=0",
    ]);
    browser.arg(format!("--user-data-dir={}", profile.path().display())).args(["--virtual-time-budget=6000"]).args(options);
    browser.arg(format!("http://{}{target}", program.address())).stdin(Stdio::null());
    if Command::new("chromium").arg("--version").output().is_err() {
        return None;
    }
    let output = browser.output().unwrap();
    let [page, log] = [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned());
    Some((page, log))
}

#[test]
fn a_browser_draws_the_stack_and_takes_nothing_of_clients_for_html() {
    let program = Program::start(PIPELINE, &[]);
    assert!(program.get(HOSTILE).starts_with("HTTP/1.1 503"));
    let Some((page, log)) = page(&program, "/dashboard", &["--dump-dom"]) else { return eprintln!("chromium is not installed") };
    for shown in ["request_id", "outer (headers)", "dashboard", "path /dashboard", "req/s", "5xx/s"] {
        assert!(page.contains(shown), "{shown}: {page}\n{log}");
    }
    // The error is there, as text: what is in the path is not read as HTML.
    assert!(page.contains("GET /%3Cimg%20src=x") && page.contains("&amp;lt;"), "{page}\n{log}");
    assert!(!page.contains("<img") && !page.contains("<b>bold"), "{page}");
    assert!(page.contains("<title>Ziggurat</title>"), "{page}");
    assert!(page.contains(r#"role="alert" hidden="""#), "{page}");
    assert!(!log.contains("Content Security Policy") && !log.contains("Uncaught"), "{log}");
}

#[test]
fn the_figures_name_errors_and_steps() {
    let program = Program::start(PIPELINE, &[]);
    program.get("/broken?token=s3cr3t");
    let answer = program.get("/dashboard?status");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/json") && head.contains("no-store"), "{head}");
    assert!(!body.contains("s3cr3t"), "{body}");
    let status: Value = serde_json::from_str(body).unwrap();
    let error = &status["recent_errors"][0];
    assert_eq!((&error["request"], &error["status"], &error["place"]), (&"GET /broken".into(), &503.into(), &"default/respond".into()));
    assert_eq!(status["steps"][0]["place"], "request_id");
}

#[test]
fn a_request_is_explained_by_the_running_server() {
    let program = Program::start(PIPELINE, &[]);
    let explain = |line: &str| {
        let answer = program.get(&format!("/dashboard?explain={line}"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str::<Value>(body).unwrap())
    };
    let (status, explained) = explain("POST%20/broken");
    assert_eq!((&*status, &explained["request"], &explained["status"]), ("200", &"POST /broken".into(), &503.into()));
    let places: Vec<&Value> = explained["hops"].as_array().unwrap().iter().map(|hop| &hop["place"]).collect();
    assert!(places.contains(&&"outer".into()) && places.contains(&&"default/respond".into()), "{places:?}");
    let (status, refused) = explain("GET%20ftp://a/");
    assert_eq!(status, "422");
    assert!(refused["detail"].as_str().unwrap().contains("the scheme is `ftp`"), "{refused}");
}

#[test]
fn a_browser_shows_an_explanation_and_takes_nothing_of_it_for_html() {
    let program = Program::start(PIPELINE, &[]);
    let target = "/dashboard#explain=GET%20/%3Cb%3Ebold%3C/b%3E";
    let Some((page, log)) = page(&program, target, &["--dump-dom"]) else { return eprintln!("chromium is not installed") };
    let Some((_, explanation)) = page.split_once("id=\"explanation\"") else { panic!("{page}") };
    assert!(explanation.contains("&lt;b&gt;bold") && !explanation.contains("<b>bold"), "{page}\n{log}");
    assert!(!log.contains("Content Security Policy") && !log.contains("Uncaught"), "{log}");

    let target = "/dashboard#explain=GET%20/broken";
    let Some((page, log)) = self::page(&program, target, &["--dump-dom"]) else { return };
    for shown in ["default/respond", "answers 503", "The client gets 503."] {
        assert!(page.contains(shown), "{shown}: {page}\n{log}");
    }
}
