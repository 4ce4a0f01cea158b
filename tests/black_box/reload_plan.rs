//! `ziggurat reload --plan`: what a reload would change, and that the reload then does it.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Program, command};

const APP: &str = "import os\ndef app(e, s):\n    s('200 OK', [])\n    return [str(os.getpid()).encode()]\n";

const SITE: &str = r#"{
  "listen": ["127.0.0.1:0", "unix:a.sock"],
  "server": { "control": "control.sock" },
  "layers": ["request_id", { "compress": { "level": 5 } }, { "rate_limit": "1000/s" }, { "limit": 100 }],
  "app": { "wsgi": { "app": "site_app:app", "workers": 1 }, "as": "site" }
}
"#;

fn ziggurat(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(folder).args(arguments).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn rewrite(program: &Program, pipeline: &str) {
    std::fs::write(program.folder().join("pipeline.json"), pipeline).unwrap();
}

fn plan(program: &Program) -> Value {
    let (code, plan, error) = ziggurat(program.folder(), &["reload", "--plan", "--json"]);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&plan).unwrap()
}

/// The rows of a table with one of these actions, by a key.
fn rows(plan: &Value, table: &str, key: &str, actions: &[&str]) -> Vec<String> {
    let rows = plan[table].as_array().unwrap().iter();
    let rows = rows.filter(|row| actions.contains(&row["action"].as_str().unwrap()));
    rows.map(|row| row[key].as_str().unwrap().to_owned()).collect()
}

fn pid(program: &Program) -> String {
    program.get("/").rsplit("\r\n\r\n").next().unwrap().to_owned()
}

#[test]
fn nothing_changes_for_an_equal_file_but_workers_are_restarted() {
    let program = Program::start(SITE, &[("site_app.py", APP)]);
    // The same in other words.
    rewrite(&program, &SITE.replace("\"request_id\"", "{ \"request_id\": {} }").replace('\n', " "));
    let before = pid(&program);
    let told = plan(&program);
    assert_eq!((&told["changes"], &told["findings"]), (&json!(false), &json!([])), "{told:#}");
    assert_eq!(rows(&told, "listeners", "address", &["keep"]).len(), 2);
    assert_eq!(rows(&told, "workers", "place", &["restart"]), ["site"]);
    let kept = |part: &&Value| part["state"] == "kept";
    assert_eq!(
        told["parts"].as_array().unwrap().iter().filter(kept).map(|part| &part["place"]).collect::<Vec<_>>(),
        ["rate_limit", "limit"]
    );
    let (code, text, _) = ziggurat(program.folder(), &["reload", "--plan"]);
    assert_eq!(code, 0);
    assert!(text.starts_with("the file says what the server runs") && text.contains("state kept: rate_limit, limit\n"), "{text}");

    assert_eq!(pid(&program), before, "a plan restarts nothing");
    let (_, status, _) = ziggurat(program.folder(), &["status", "--json"]);
    assert!(status.contains("\"generation\": 1"), "{status}");
    assert_eq!(ziggurat(program.folder(), &["reload"]).0, 0);
    assert_ne!(pid(&program), before);
}

#[test]
fn what_the_plan_says_is_what_the_reload_does() {
    let mut program = Program::start(SITE, &[("site_app.py", APP)]);
    rewrite(
        &program,
        r#"{
          "listen": ["127.0.0.1:0", { "at": "unix:b.sock", "mode": "0660" }],
          "server": { "control": "moved.sock", "threads": 3, "drain": "5s" },
          "layers": [{ "compress": { "level": 6 } }, "request_id", { "rate_limit": "1000/s" }, "security_headers"],
          "app": { "routes": [
            { "match": { "path": "/" }, "app": { "wsgi": { "app": "site_app:app", "workers": 1, "threads": 2 }, "as": "site" } },
            { "app": { "respond": 204 } }
          ] }
        }"#,
    );
    let said = ask(&program, "control.sock", "GET /plan");
    let told: Value = serde_json::from_str(said.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(told["changes"], true);
    assert_eq!(rows(&told, "listeners", "address", &["keep"]), [format!("http://{}", program.address())]);
    let (opened, closed) = (rows(&told, "listeners", "address", &["open"]), rows(&told, "listeners", "address", &["close"]));
    assert_eq!((opened, closed), (vec!["unix:b.sock".to_owned()], vec!["unix:a.sock".to_owned()]));
    assert_eq!(
        (rows(&told, "control", "address", &["open"]), rows(&told, "control", "address", &["close"])),
        (vec!["moved.sock".to_owned()], vec!["control.sock".to_owned()])
    );
    assert_eq!(
        told["server"],
        json!([{ "option": "drain", "restart": false }, { "option": "threads", "restart": true }, { "option": "control", "restart": false }]),
        "{told:#}"
    );
    assert_eq!(rows(&told, "parts", "place", &["added"]), ["security_headers", "routes", "default/respond"]);
    assert_eq!(rows(&told, "parts", "place", &["removed"]), ["limit"]);
    assert_eq!(rows(&told, "parts", "place", &["changed"]), ["compress", "site"]);
    assert_eq!(rows(&told, "workers", "place", &["restart"]), ["site"]);
    let of = |place: &str| told["parts"].as_array().unwrap().iter().find(|part| part["place"] == place).unwrap().clone();
    assert_eq!((&of("rate_limit")["state"], &of("limit")["state"]), (&json!("kept"), &json!("lost")));
    assert_eq!((&of("compress")["options"], &of("compress")["moved"]), (&json!(["level"]), &json!(true)));
    assert!(!program.folder().join("b.sock").exists() && !program.folder().join("moved.sock").exists());

    assert!(ask(&program, "control.sock", "POST /reload").starts_with("HTTP/1.1 200 "));
    assert!(program.wait_for_log("no longer listening on").trim_end().ends_with("unix:a.sock"));
    program.wait_for_log("listening on unix:b.sock");
    program.wait_for_log("`server.threads` cannot change while the server runs");
    assert!(!program.log().contains("`server.drain` cannot"), "{}", program.log());
    assert!(program.folder().join("moved.sock").exists());
    // What it has become is what the file says.
    let after = plan(&program);
    assert_eq!(after["changes"], false, "{after:#}");
}

fn ask(program: &Program, socket: &str, line: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(program.folder().join(socket)).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_wrong_with_the_file_is_shown_and_nothing_is_imported() {
    let program = Program::start(SITE, &[("site_app.py", APP)]);
    rewrite(&program, &SITE.replace("\"level\"", "\"levle\""));
    let (code, _, report) = ziggurat(program.folder(), &["reload", "--plan"]);
    assert_eq!(code, 1);
    assert!(
        report.contains("pipeline.json:4:") && report.contains("did you mean `level`?") && report.contains("would be refused"),
        "{report}"
    );
    let (code, json, _) = ziggurat(program.folder(), &["reload", "--plan", "--json"]);
    let refused: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &refused["findings"][0]["id"]), (1, &json!("unknown-option")));

    // A module that is not there is found when it is imported, and only then.
    rewrite(&program, &SITE.replace("site_app:app", "nowhere:app"));
    let told = plan(&program);
    assert_eq!(rows(&told, "parts", "place", &["changed"]), ["site"]);
    let untried = ["the stack is not built: files that its layers and apps need are not opened", "the code of `site` is not imported"];
    assert_eq!(told["untried"], json!(untried));
    let (code, text, _) = ziggurat(program.folder(), &["reload", "--plan"]);
    assert!(code == 0 && text.ends_with(&format!("refused where it fails:\n    {}\n    {}\n", untried[0], untried[1])), "{text}");
    assert_eq!(ziggurat(program.folder(), &["reload"]).0, 1);
    let (code, _, error) = ziggurat(program.folder(), &["reload", "--plan", "other.json"]);
    assert_eq!(code, 2, "{error}");
}

#[test]
fn a_file_that_is_no_json_is_refused_as_any_wrong_file() {
    let program = Program::start(SITE, &[("site_app.py", APP)]);
    rewrite(&program, &SITE.replace("\"layers\":", "\"layers\""));
    for (arguments, conclusion) in
        [(&["reload"][..], "not reloaded: what runs goes on"), (&["reload", "--plan"], "a reload would be refused: what runs would go on")]
    {
        let (code, _, report) = ziggurat(program.folder(), arguments);
        assert!(code == 1 && report.contains("pipeline.json:4:") && report.contains(conclusion), "{code} {report}");
    }
    let (code, json, _) = ziggurat(program.folder(), &["reload", "--plan", "--json"]);
    let refused: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &refused["findings"][0]["id"]), (1, &json!("syntax")), "{json}");
}

#[test]
fn certificates_that_change_are_named() {
    let program = Program::start(r#"{ "listen": "127.0.0.1:0", "server": { "control": "control.sock" }, "app": { "respond": 204 } }"#, &[]);
    let folder = program.folder();
    assert_eq!(ziggurat(folder, &["certs", "--self-signed", "--name", "site.test"]).0, 0);
    let secure = r#"{ "listen": { "at": "127.0.0.1:0", "tls": { "cert": "tls/site.test.pem", "key": "tls/site.test.key" } },
        "server": { "control": "control.sock" }, "app": { "respond": 204 } }"#;
    rewrite(&program, secure);
    let told = plan(&program);
    assert_eq!(rows(&told, "listeners", "address", &["change"]), [format!("http://{}", program.address())]);
    assert_eq!(rows(&told, "certificates", "names", &["added"]), ["site.test"]);
    assert_eq!(ziggurat(folder, &["reload"]).0, 0);
    assert_eq!(rows(&plan(&program), "certificates", "names", &["same"]), ["site.test"]);

    rewrite(&program, &secure.replace("site.test.key", "no.key"));
    let (code, _, report) = ziggurat(folder, &["reload", "--plan"]);
    assert!(code == 1 && report.contains("no.key"), "{report}");
}
