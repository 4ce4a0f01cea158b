//! `ziggurat explain`: what it prints, and that it starts nothing.

use std::path::Path;

use crate::support::{Program, command, folder_of};

const SITE: &str = r#"{
  "listen": ["127.0.0.1:8000", { "at": "127.0.0.1:8443", "tls": { "cert": "cert.pem", "key": "key.pem" } }],
  "layers": [
    "request_id",
    "access_log",
    { "forwarded": { "trust": "10.0.0.1" } },
    { "security_headers": { "hsts": {} } },
    { "compress": { "above": "10B" } },
    { "static": { "at": "/static", "root": "staticfiles" } },
    { "body_limit": "10MiB" }
  ],
  "apps": { "shop": { "wsgi": { "app": "shop:app", "workers": 2, "deadline": "20s" } } },
  "app": { "routes": [
    { "match": { "path": "/healthz" }, "app": { "respond": 204 } },
    { "match": { "host": "api.example" }, "deadline": "5s", "app": { "proxy": { "to": ["http://10.0.0.5:9000", "http://10.0.0.6:9000"] } } },
    { "match": { "client": "10.0.0.0/8" }, "mount": "/blog", "layers": [{ "wsgi": "nowhere:Middleware" }], "app": { "wsgi": "nowhere:app" } },
    { "match": { "path": "/admin/*" }, "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": "shop" },
    { "app": "shop" }
  ] }
}
"#;

/// What `ziggurat explain` prints.
fn explain(arguments: &[&str]) -> String {
    let folder = folder_of(&[("pipeline.json", SITE), ("staticfiles/a.css", "body { color: black }\n")]);
    explain_in(folder.path(), arguments)
}

fn explain_in(folder: &Path, arguments: &[&str]) -> String {
    let output = command(folder).arg("explain").args(arguments).output().unwrap();
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let text = format!("{out}{error}exit {}\n", output.status.code().unwrap());
    text.replace(&format!("{}/", folder.canonicalize().unwrap().display()), "").replace(&format!("{}/", folder.display()), "")
}

#[test]
fn a_request_for_the_app_is_followed_to_python() {
    insta::assert_snapshot!(explain(&["https://shop.example:8443/x?y=1", "-H", "accept-encoding: br", "--from", "203.0.113.9"]));
}

#[test]
fn a_file_is_found_and_its_response_followed_back() {
    insta::assert_snapshot!(
        explain(&["GET", "/static/a.css", "-H", "accept-encoding: gzip", "-H", "if-none-match: \"other\""])
            .lines()
            .filter(|line| {
                // They tell when the file was written.
                !line.contains("sets `etag") && !line.contains("last-modified")
            })
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn a_refusal_ends_the_way() {
    insta::assert_snapshot!(explain(&["pipeline.json", "POST", "/admin/", "--body-size", "1KiB"]));
}

#[test]
fn what_a_trusted_proxy_says_decides_the_route() {
    let headers = ["-H", "x-forwarded-for: 10.9.9.9", "-H", "x-forwarded-proto: https", "-H", "x-forwarded-host: api.example"];
    insta::assert_snapshot!(explain(&[&["/x", "--from", "10.0.0.1"][..], &headers].concat()));
}

#[test]
fn a_python_layer_is_where_python_begins() {
    insta::assert_snapshot!(explain(&["/blog/x", "--from", "10.0.0.7"]));
}

#[test]
fn the_server_refuses_what_no_layer_sees() {
    insta::assert_snapshot!(explain(&["/", "-H", "transfer-encoding: gzip"]));
}

#[test]
fn json_says_the_same_for_programs() {
    let text = explain(&["/healthz", "--json"]);
    let (json, exit) = text.rsplit_once("exit").unwrap();
    assert_eq!(exit, " 0\n");
    let explanation: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(explanation["status"], 204);
    let hops = explanation["hops"].as_array().unwrap();
    let places: Vec<_> = hops.iter().map(|hop| hop["place"].as_str().unwrap()).collect();
    assert_eq!(places.last(), Some(&"healthz/respond"));
    assert!(places.contains(&"compress") && places.contains(&"body_limit"), "{places:?}");
}

#[test]
fn what_cannot_be_explained_is_said() {
    for (arguments, message) in [
        (&["x"][..], "`x` is not a URL"),
        (&["ftp://a.example/"], "the scheme is `ftp`"),
        (&["/", "--from", "nobody"], "`nobody` is not the address of a client"),
        (&["/", "-H", "nonsense"], "`nonsense` is not a header"),
        (&["/", "--body-size", "7"], "`7` has no unit"),
        (&["GET", "/", "extra", "more"], "unexpected value"),
    ] {
        let text = explain(arguments);
        assert!(text.contains(message) && text.ends_with("exit 2\n"), "{arguments:?}: {text}");
    }
}

#[test]
fn lines_are_as_narrow_as_the_terminal() {
    let folder = folder_of(&[("pipeline.json", SITE), ("staticfiles/a.css", "")]);
    let wide = explain_in(folder.path(), &["/admin/x"]);
    assert!(wide.lines().all(|line| line.chars().count() <= 100), "{wide}");
}

#[test]
fn the_running_server_says_how_full_a_limit_is_and_which_servers_are_there() {
    let program = Program::start(
        r#"{
  "listen": "127.0.0.1:0",
  "server": { "control": "control.sock" },
  "layers": [{ "rate_limit": { "allow": "3/h" } }, { "limit": 5 }],
  "app": { "routes": [
    { "match": { "path": "/other" }, "app": { "proxy": { "to": "http://127.0.0.1:9", "health": { "path": "/" } } } },
    { "app": { "respond": 204 } }
  ] }
}"#,
        &[],
    );
    let live = |url: &str| explain_in(program.folder(), &[url, "--live"]);
    assert!(live("/").contains("now: the request passes, and 2 more at once"), "{}", live("/"));
    for _ in 0..3 {
        program.get("/");
    }
    let used_up = live("/");
    assert!(used_up.contains("now: the limit is used up: a request passes in "), "{used_up}");
    assert!(used_up.contains("now: 0 requests of all keys are under way, 0 wait"), "{used_up}");
    assert!(used_up.contains("204 from `default/respond`"), "{used_up}");
    assert!(live("/other").contains("127.0.0.1:9"), "{}", live("/other"));
    // Who asks is not counted.
    assert!(live("/").contains("the limit is used up"));
    assert!(explain_in(program.folder(), &["nonsense", "--live"]).contains("`nonsense` is not a URL"));
    drop(program);
}
