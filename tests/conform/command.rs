//! The command itself: what it writes, prints and returns.

use crate::server::{Served, app, command};
use crate::support;
use crate::wrong;

#[test]
fn the_results_are_grouped_by_topic_and_say_what_was_sent_and_what_came() {
    let served = wrong::served(&["decodes-twice", "proxy"]);
    let output = command(served.address, &["environ", "close"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("environ\n  ok      environ-dict: ") && text.contains("\niterable\n  ok      close: "), "{text}");
    let failure = "  FAILED  environ-path-decoded-once: PATH_INFO is decoded exactly once.\n";
    assert!(text.contains(failure), "{text}");
    assert!(
        text.contains(
            "          must, RFC 3875 section 4.1.5\n          the app sees `PATH_INFO '/environ/A'`, not `PATH_INFO '/environ/%41'`\n"
        ),
        "{text}"
    );
    assert!(text.contains("          > GET /environ/%2541 HTTP/1.1\n") && text.contains("          < HTTP/1.1 200 OK\n"), "{text}");
    assert!(text.contains("  notice  environ-no-proxy: ") && text.trim_end().ends_with("0 skipped") && !text.contains('\x1b'), "{text}");
}

#[test]
fn a_notice_is_no_failure_and_ci_reads_both() {
    let served = wrong::served(&["proxy"]);
    let file = tempfile::tempdir().unwrap().keep().join("results.xml");
    let status = command(served.address, &["environ-no-proxy", "close"]).arg("--junit").arg(&file).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let xml = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    assert!(xml.contains(r#"tests="2" failures="0" errors="0" skipped="1" time=""#) && xml.contains("notice: the app sees"), "{xml}");
    let times = xml.matches(r#"" time=""#).count();
    assert_eq!((xml.matches(r#"<testcase classname=""#).count(), times), (2, 3), "{xml}");
}

#[test]
fn a_server_without_the_app_is_no_server_under_test() {
    let served = Served::python(
        "import http.server\nserver = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\nprint(server.server_port, flush=True)\nserver.serve_forever()",
    );
    let output = command(served.address, &[]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && message.contains("hint: write it with `ziggurat conform --write app.py`"), "{message}");
}

#[test]
fn wrong_command_lines_are_explained() {
    let folder = support::folder_of(&[("app.py", "")]);
    for (arguments, expected) in [
        (vec!["--write", "app.py"], "`app.py` already exists"),
        (vec!["--against", "ftp://127.0.0.1"], "write `http://HOST:PORT`"),
        (vec!["--against", "http://127.0.0.1:1", "--insecure"], "has no certificate"),
        (vec!["--against", "https://127.0.0.1:1", "--ca", "nowhere.pem"], "nowhere.pem"),
        (vec!["--against", "https://127.0.0.1:1", "--ca", "app.py", "--insecure"], "cannot be used with"),
        (vec!["--against", "http://127.0.0.1:1", "--only", "framin"], "`framing`"),
        (vec![], "--against"),
    ] {
        let output = support::command(folder.path()).arg("conform").args(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && message.contains(expected), "{message}");
    }
}

#[test]
fn the_app_that_is_written_is_that_of_the_sources() {
    assert_eq!(app(), include_str!("../../src/conform/app.py"));
}
