//! `ziggurat cgi`: with a request in the environment, and under Apache's mod_cgid, where that is installed.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::apache::{Apache, passes_requests_bodies_and_errors};
use crate::support::{PATIENCE, command, folder_of, virtual_env};

/// Its variables, what it reads and what it prints are in the response.
const APP: &str = r#"
import os, sys

def app(environ, start_response):
    print("printed by the app")
    body = environ["wsgi.input"].read()
    rest = sys.stdin.read()
    names = ["REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "REMOTE_USER", "HTTP_X_FOO", "HTTP_PROXY", "wsgi.url_scheme",
             "wsgi.run_once", "wsgi.multithread", "wsgi.multiprocess", "wsgi.input_terminated"]
    lines = [f"{name}={environ.get(name)}" for name in names]
    lines += [f"body={len(body)} {body[:5]!r}", f"rest={rest!r}", f"os.HTTP_PROXY={os.environ.get('HTTP_PROXY')}", f"os.SITE={os.environ.get('SITE')}"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\n".join(lines + [""]).encode()]
"#;

const PIPELINE: &str = r#"{ "app": { "wsgi": "app" } }"#;

/// Standard output and standard error of a request, and the exit code.
struct Answer {
    out: String,
    log: String,
    code: Option<i32>,
}

/// Starts the program for a request with these variables.
fn start(folder: &Path, variables: &[(&str, &str)]) -> Child {
    let mut command = command(folder);
    command.args(["cgi", "pipeline.json"]).envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ask(pipeline: &str, variables: &[(&str, &str)], input: &[u8]) -> Answer {
    let folder = folder_of(&[("app.py", APP), ("pipeline.json", pipeline), ("public/a.txt", "a file")]);
    let mut child = start(folder.path(), variables);
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // It stays open: the end of the body is where its length says.
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(&input);
        stdin
    });
    let output = child.wait_with_output().unwrap();
    drop(writer.join());
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Answer { out: text(&output.stdout), log: text(&output.stderr), code: output.status.code() }
}

const GET: [(&str, &str); 4] = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/"), ("REMOTE_ADDR", "203.0.113.7"), ("HTTP_HOST", "site.test")];

#[test]
fn the_environment_and_standard_input_are_the_request() {
    let variables = [
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", "/cgi-bin/site.cgi"),
        ("PATH_INFO", "/a b"),
        ("QUERY_STRING", "x=%20"),
        ("REMOTE_ADDR", "203.0.113.7"),
        ("REMOTE_USER", "ann"),
        ("HTTPS", "on"),
        ("CONTENT_LENGTH", "5"),
        ("HTTP_X_FOO", "1"),
        ("HTTP_PROXY", "evil"),
        ("wsgi.url_scheme", "gopher"),
        ("SITE", "mine"),
    ];
    let pipeline = r#"{ "app": { "wsgi": { "app": "app", "workers": 4, "threads": 8, "recycle": { "requests": 9 } } } }"#;
    let answer = ask(pipeline, &variables, b"hello, and more");
    let (head, body) = answer.out.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("Status: 200 OK\r\n") && head.contains(&format!("content-length: {}", body.len())), "{head}");
    for line in [
        "REQUEST_METHOD=POST",
        "SCRIPT_NAME=/cgi-bin/site.cgi",
        "PATH_INFO=/a b",
        "QUERY_STRING=x=%20",
        "REMOTE_ADDR=203.0.113.7",
        "REMOTE_USER=ann",
        "HTTP_X_FOO=1",
        "HTTP_PROXY=None",
        "wsgi.url_scheme=https",
        "wsgi.run_once=True",
        "wsgi.multithread=False",
        "wsgi.multiprocess=True",
        "wsgi.input_terminated=True",
        "body=5 b'hello'",
        // What a client says is no variable of the process, and an app reads no body from it.
        "rest=''",
        "os.HTTP_PROXY=None",
        "os.SITE=mine",
    ] {
        assert!(body.lines().any(|found| found == line), "{line}: {body}");
    }
    assert!(answer.log.contains("printed by the app") && answer.code == Some(0), "{}", answer.log);
}

#[test]
fn bodies_of_ten_million_octets_and_heads_pass() {
    let post = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/"), ("CONTENT_LENGTH", "10000000")];
    let answer = ask(PIPELINE, &post, &vec![b'x'; 10_000_000]);
    assert!(answer.out.contains("body=10000000 b'xxxxx'"), "{} {}", answer.out, answer.log);
    let head = ask(PIPELINE, &[("REQUEST_METHOD", "HEAD"), ("PATH_INFO", "/")], b"");
    assert!(head.out.starts_with("Status: 200 OK\r\n") && head.out.ends_with("\r\n\r\n"), "{}", head.out);
}

#[test]
fn routes_and_native_apps_need_no_python() {
    let pipeline = r#"{ "layers": ["request_id", { "static": { "at": "/static", "root": "public" } }], "app": { "routes": [
        { "match": { "path": "/a" }, "app": { "respond": { "body": "a" } } },
        { "mount": "/run", "app": { "cgi": "/usr/bin/env" } }
    ] } }"#;
    let get = |path: &str| ask(pipeline, &[("REQUEST_METHOD", "GET"), ("PATH_INFO", path), ("HTTP_X_FOO", "1"), ("SECRET", "1")], b"").out;
    let answer = get("/a");
    assert!(answer.contains("x-request-id: ") && answer.ends_with("\r\n\r\na"), "{answer}");
    assert!(get("/static/a.txt").ends_with("\r\n\r\na file"));
    assert!(get("/nowhere").starts_with("Status: 404 Not Found\r\n"));
    // `env` writes no head.
    assert!(get("/run").starts_with("Status: 502 Bad Gateway\r\n"));
}

#[test]
fn the_settings_of_a_django_site_do_not_see_what_the_client_says() {
    let settings =
        "import os\nassert 'HTTP_PROXY' not in os.environ\nSECRET_KEY = 'x' * 50\nALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'site_urls'\n";
    let urls = "from django.http import HttpResponse\nfrom django.urls import path\nurlpatterns = [path('', lambda request: HttpResponse('here'))]\n";
    let files = [("site_settings.py", settings), ("site_urls.py", urls), ("pipeline.json", r#"{ "app": { "django": "site_settings" } }"#)];
    let folder = folder_of(&files);
    let output = start(folder.path(), &[&GET[..], &[("HTTP_PROXY", "evil")]].concat()).wait_with_output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(text(&output.stdout).ends_with("\r\n\r\nhere"), "{} {}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn a_request_that_is_none_is_refused() {
    for (more, status) in [
        (&[("CONTENT_LENGTH", "-1")][..], "400 Bad Request"),
        (&[("CONTENT_LENGTH", "1x")], "400 Bad Request"),
        (&[("HTTP_HOST", "a/b")], "400 Bad Request"),
        (&[("HTTP_X_FOO", "a\nb")], "400 Bad Request"),
        (&[("REQUEST_METHOD", "")], "400 Bad Request"),
        (&[("REQUEST_METHOD", "CONNECT")], "501 Not Implemented"),
    ] {
        let answer = ask(PIPELINE, &[&GET[..], more].concat(), b"");
        assert!(answer.out.starts_with(&format!("Status: {status}\r\n")), "{more:?}: {}", answer.out);
        assert!(answer.log.contains("refused a request from 203.0.113.7"), "{}", answer.log);
    }
    // How long a body in chunks is, Apache does not say.
    let folder = folder_of(&[("app.py", APP), ("pipeline.json", PIPELINE)]);
    let mut child = start(folder.path(), &[&GET[..], &[("HTTP_TRANSFER_ENCODING", "chunked")]].concat());
    child.stdin.take().unwrap().write_all(b"body").unwrap();
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout.starts_with(b"Status: 411 Length Required\r\n") && log.contains("refused a request"), "{log}");
    // A body that is cut short never reaches the app.
    let folder = folder_of(&[("app.py", APP), ("pipeline.json", PIPELINE)]);
    let mut child = start(folder.path(), &[&GET[..], &[("CONTENT_LENGTH", "10")]].concat());
    child.stdin.take().unwrap().write_all(b"short").unwrap();
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("Status: 400 Bad Request\r\n"), "{output:?}");
    assert!(!log.contains("printed") && log.contains("shorter than `CONTENT_LENGTH` says"), "{log}");
}

#[test]
fn a_file_that_is_wrong_is_explained_to_the_log_and_500_to_the_client() {
    for (pipeline, reason, code) in [
        (r#"{ "app": { "wsgi": "app" "#, "error: ", 2),
        (r#"{ "layers": ["compres"], "app": { "wsgi": "app" } }"#, "unknown layer `compres`", 2),
        (r#"{ "app": { "wsgi": "absent:app" } }"#, "absent", 1),
        // What the client says is no variable of the file.
        (r#"{ "app": { "respond": { "body": "${HTTP_HOST}" } } }"#, "HTTP_HOST", 2),
    ] {
        let answer = ask(pipeline, &GET, b"");
        assert!(answer.out.starts_with("Status: 500 Internal Server Error\r\n") && !answer.out.contains("absent"), "{}", answer.out);
        assert!(answer.log.contains(reason) && answer.log.contains("pipeline.json:1:"), "{}", answer.log);
        assert_eq!(answer.code, Some(code), "{pipeline}");
    }
    let by_hand = command(Path::new(".")).args(["cgi", "pipeline.json"]).env_remove("REQUEST_METHOD").output().unwrap();
    assert!(by_hand.stdout.is_empty() && by_hand.status.code() == Some(2));
    assert!(
        String::from_utf8_lossy(&by_hand.stderr)
            .contains("hint: to try it, run `REQUEST_METHOD=GET PATH_INFO=/ ziggurat cgi pipeline.json`")
    );
}

#[test]
fn a_request_ends_with_its_client_and_at_sigterm() {
    for ends_by_signal in [false, true] {
        let folder = folder_of(&[
            ("site_under_test.py", include_str!("site.py")),
            ("pipeline.json", r#"{ "app": { "wsgi": "site_under_test:plain" } }"#),
        ]);
        let closed = folder.path().join("closed");
        let variables = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/stream"), ("ZIGGURAT_TEST_CLOSED", closed.to_str().unwrap())];
        let mut child = start(folder.path(), &variables);
        let mut stdout = child.stdout.take().unwrap();
        let mut begin = [0; 100];
        stdout.read_exact(&mut begin).unwrap();
        assert!(String::from_utf8_lossy(&begin).contains("first\n"));
        let rest = if ends_by_signal {
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            // It is read on, so only the signal ends it.
            Some(thread::spawn(move || stdout.read_to_end(&mut Vec::new())))
        } else {
            drop(stdout);
            None
        };
        let since = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < PATIENCE, "it goes on, signal: {ends_by_signal}");
            thread::yield_now();
        }
        drop(rest.map(thread::JoinHandle::join));
        assert_eq!(fs::read_to_string(closed).unwrap(), "closed\n");
    }
}

#[test]
fn a_pipeline_file_is_a_program() {
    let folder = script(&[("app.py", APP)], PIPELINE);
    let mut program = Command::new(folder.path().join("site.cgi"));
    let output = program.env("VIRTUAL_ENV", virtual_env()).envs(GET).stdin(Stdio::null()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("PATH_INFO=/\n"), "{output:?}");
    let checked = command(folder.path()).args(["check", "site.cgi"]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn apache_runs_the_program_for_each_request() {
    let folder = script(&[("site_under_test.py", include_str!("site.py"))], r#"{ "app": { "wsgi": "site_under_test:app" } }"#);
    let closed = folder.path().join("closed");
    fs::write(&closed, "").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o666)).unwrap();
    let sites = format!("ScriptAlias /cgi {}/site.cgi\nSetEnv ZIGGURAT_TEST_CLOSED {}", folder.path().display(), closed.display());
    let Some(apache) = apache(folder.path(), &sites) else { return };
    passes_requests_bodies_and_errors(&apache, "cgi");
    // A response that has no end ends with its client.
    let mut client = apache.connect();
    write!(client, "GET /cgi/stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut begin = [0; 400];
    client.read_exact(&mut begin).unwrap();
    assert!(String::from_utf8_lossy(&begin).contains("first"));
    drop(client);
    let since = Instant::now();
    while fs::read_to_string(&closed).unwrap().is_empty() {
        assert!(since.elapsed() < PATIENCE, "{}", fs::read_to_string(folder.path().join("httpd.log")).unwrap());
        std::thread::yield_now();
    }
}

#[test]
fn a_path_that_apache_has_rewritten_does_not_show_the_program() {
    let folder = script(&[("site_under_test.py", include_str!("site.py"))], r#"{ "app": { "wsgi": "site_under_test:app" } }"#);
    let at = folder.path().display();
    let sites = format!(
        "DocumentRoot {at}\n<Directory {at}>\nOptions +ExecCGI\n<Files site.cgi>\nSetHandler cgi-script\n</Files>\nRewriteEngine On
         RewriteCond %{{REQUEST_FILENAME}} !-f\nRewriteRule ^(.*)$ site.cgi/$1 [L]\n</Directory>"
    );
    let Some(apache) = apache(folder.path(), &sites) else { return };
    // Apache makes arguments of the words of a query without `=`. They are no arguments of the program.
    for (path, script, info) in
        [("/a%20b?x", "", "/a b"), ("/?--help", "", "/"), ("/?-h+--version", "", "/"), ("/site.cgi/a", "/site.cgi", "/a")]
    {
        let answer = String::from_utf8(apache.request("GET", path, b"")).unwrap();
        assert!(answer.contains(&format!(r#""SCRIPT_NAME": "{script}", "PATH_INFO": "{info}""#)), "{path}: {answer}");
    }
}

#[test]
fn refusals_reach_a_client_of_apache_that_sends_a_body() {
    let folder = script(&[("app.py", APP)], PIPELINE);
    let Some(apache) = apache(folder.path(), &format!("ScriptAlias /cgi {}/site.cgi", folder.path().display())) else { return };
    let body = vec![b'x'; 5_000_000];
    for length in [2_000, body.len()] {
        let mut stream = apache.connect();
        write!(stream, "POST /cgi/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n").unwrap();
        // The server may have closed it by now.
        let _ = stream.write_all(&[&body[..length], b"\r\n0\r\n\r\n"].concat());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 411 ") && answer.contains("the body has come in chunks"), "{length}: {answer}");
    }
    for pipeline in [r#"{ "app": { "wsgi": "absent:app" } }"#, r#"{ "layers": ["compres"] }"#] {
        write_script(folder.path(), pipeline);
        for length in [2_000, body.len()] {
            let answer = apache.request("POST", "/cgi/", &body[..length]);
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("the site cannot be served"), "{pipeline} {length}: {answer}");
        }
    }
}

/// A folder with these files and a pipeline file `site.cgi` that is a program.
pub fn script(files: &[(&str, &str)], pipeline: &str) -> tempfile::TempDir {
    let folder = folder_of(files);
    write_script(folder.path(), pipeline);
    folder
}

/// Writes the pipeline file `site.cgi` as a program.
pub fn write_script(folder: &Path, pipeline: &str) {
    let path = folder.join("site.cgi");
    fs::write(&path, format!("#!{} cgi\n{pipeline}", env!("CARGO_BIN_EXE_ziggurat"))).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Apache with mod_cgid and these sites. `None` if it is not installed, or if its user cannot run the program.
pub fn apache(folder: &Path, sites: &str) -> Option<Apache> {
    let is_reachable =
        |path: &Path| path.ancestors().all(|folder| folder.metadata().is_ok_and(|folder| folder.permissions().mode() & 1 != 0));
    if !is_reachable(Path::new(env!("CARGO_BIN_EXE_ziggurat"))) || !is_reachable(&virtual_env()) {
        return None;
    }
    let (at, venv) = (folder.display(), virtual_env());
    let sites = format!(
        "ScriptSock {at}/cgid.sock\nSetEnv VIRTUAL_ENV {}\n<Directory {at}>\nCGIPassAuth On\n</Directory>\n{sites}",
        venv.display()
    );
    Apache::start(folder, &["alias", "env", "cgid", "rewrite"], &sites)
}
