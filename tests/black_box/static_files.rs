//! Static files as an operator sees them: why there is none, and what happens when no file can be opened.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::support::{Program, folder_of};

const SITE: &str = r#"{ "listen": "127.0.0.1:0", "layers": [{ "static": { "root": "files", "memory": "0B" } }, { "sendfile": { "at": "/kept", "root": "files" } }],
    "app": { "wsgi": { "app": "site_with_files:app", "workers": 1 } } }"#;

const APP: &str = "def app(environ, start_response):\n\
    \x20   start_response('200 OK', [('X-Accel-Redirect', '/kept' + environ['PATH_INFO'])])\n\
    \x20   return []\n";

#[test]
fn the_log_says_why_a_path_has_no_file() {
    let folder = folder_of(&[("files/page.html", "page"), ("files/empty/part.html", ""), ("outside.txt", ""), ("files/.env", "")]);
    symlink("../outside.txt", folder.path().join("files/leaving.txt")).unwrap();
    let site = r#"{ "listen": "127.0.0.1:0", "layers": ["request_id"],
        "app": { "routes": [{ "match": { "path": "/static/*" }, "as": "files", "app": { "static": { "root": "files", "at": "/static" } } }] } }"#;
    std::fs::write(folder.path().join("pipeline.json"), site).unwrap();
    let mut command = crate::support::command(folder.path());
    command.args(["run", "pipeline.json"]).env("ZIGGURAT_LOG", "debug");
    let mut program = Program::spawn(command, folder);
    for (path, why) in [
        ("missing.html", "there is no such file"),
        (".env", "a name in the path begins with a dot (option `dotfiles`)"),
        ("leaving.txt", "a link leads out of the folder (option `symlinks`)"),
        ("empty/", "the path names a folder without an index file, or no folder (option `index`)"),
        ("a%2fb", "the path has an encoded slash, a backslash, NUL or a broken escape"),
        ("a//b", "the path has an empty segment, `.` or `..`"),
    ] {
        assert!(program.get(&format!("/static/{path}")).starts_with("HTTP/1.1 404 "), "{path}");
        let line = program.wait_for_log(&format!("no file: {why}"));
        for part in ["request_id=", &format!("GET /static/{path}"), "files/static"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    assert!(program.get("/static/page.html").ends_with("page"));
}

#[test]
fn without_descriptors_files_are_unavailable_for_a_while() {
    let mut program = Program::start(SITE, &[("files/page.html", "page"), ("site_with_files.py", APP)]);
    let mut client = program.connect();
    let mut ask = |path: &str| {
        write!(client, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"page") && !answer.ends_with(b"Unavailable\n") {
            let mut octet = [0];
            assert_eq!(client.read(&mut octet).unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
            answer.push(octet[0]);
        }
        String::from_utf8(answer).unwrap()
    };
    // By the layer itself, and as what the app names.
    let paths = ["/static/page.html", "/page.html"];
    paths.iter().for_each(|path| assert!(ask(path).starts_with("HTTP/1.1 200 "), "{path}"));
    let process = Pid::from_raw(i32::try_from(program.pid()).unwrap());
    let before = prlimit(process, Resource::Nofile, Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) }).unwrap();
    for path in paths {
        for _ in 0..3 {
            let answer = ask(path);
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 1\r\n"), "{path}: {answer}");
        }
    }
    prlimit(process, Resource::Nofile, before).unwrap();
    paths.iter().for_each(|path| assert!(ask(path).starts_with("HTTP/1.1 200 "), "{path}"));
    program.wait_for_log("cannot open a static file");
    program.wait_for_log("which cannot be opened");
    assert_eq!(program.log().matches("cannot open a static file").count(), 1, "{}", program.log());
}
