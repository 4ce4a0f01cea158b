//! The layer `cache` over real Python, and `ziggurat purge`.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::django::site_with;
use crate::support::{PATIENCE, Program, command};

/// An app that counts its calls, and whose pages may be stored. At `/slow` it waits until there is a file `go`.
const APP: (&str, &str) = (
    "pages.py",
    "import os, threading, time
lock, calls = threading.Lock(), 0
def app(environ, start_response):
    global calls
    with lock:
        calls += 1
        body = f'call {calls} '.encode() * 200
    while environ['PATH_INFO'] == '/slow' and not os.path.exists('go'): time.sleep(0.01)
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Cache-Control', 'max-age=3600'), ('Cache-Tag', 'page, ' + environ['PATH_INFO'][1:])])
    return [body]
",
);

const PIPELINE: &str = r#"{
  "listen": "127.0.0.1:0",
  "server": { "control": "control.sock" },
  "layers": [{ "cache": { "wait": "5m" } }, "compress"],
  "app": { "wsgi": { "app": "pages:app", "workers": 1, "threads": 4 } }
}"#;

fn ziggurat(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = command(folder).args(arguments).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn status(program: &Program) -> Value {
    serde_json::from_str(&ziggurat(program.folder(), &["status", "--json"]).1).unwrap()
}

#[test]
fn five_hundred_misses_at_once_are_one_call_of_python() {
    let program = Program::start(PIPELINE, &[APP]);
    let clients: Vec<_> = (0..500)
        .map(|_| {
            let mut client = program.connect();
            client.write_all(b"GET /slow HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
            client
        })
        .collect();
    let since = Instant::now();
    while status(&program)["in_progress"] != 500 {
        assert!(since.elapsed() < PATIENCE, "{}", status(&program));
    }
    fs::write(program.folder().join("go"), "").unwrap();
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("call 1 "), "{answer}");
    }
    let answer = program.get("/other");
    assert!(answer.ends_with("call 2 "), "{answer}");
}

#[test]
fn a_compressed_page_is_stored_and_purged_by_path_and_tag() {
    let program = Program::start(PIPELINE, &[APP]);
    let get = |target: &str| {
        let answer =
            program.exchange(format!("HEAD {target} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"));
        answer.to_ascii_lowercase()
    };
    let fill = |target: &str| {
        let mut client = program.connect();
        write!(client, "GET {target} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n").unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
    };
    for target in ["/a", "/a?page=2", "/b"] {
        fill(target);
        let head = get(target);
        assert!(head.contains("cache-status: ziggurat; hit") && head.contains("content-encoding: gzip"), "{head}");
    }
    let purge = |arguments: &[&str]| ziggurat(program.folder(), &[&["purge"], arguments].concat());
    assert_eq!(purge(&["--path", "/a"]), (0, "cache: 2 responses removed\n".to_owned(), String::new()));
    assert!(get("/a").contains("fwd=uri-miss") && get("/b").contains("ziggurat; hit"));
    assert_eq!(purge(&["pipeline.json", "--tag", "b"]).1, "cache: 1 response removed\n");
    assert!(get("/b").contains("fwd=uri-miss"));
    fill("/a");
    assert_eq!(purge(&["--all"]).1, "cache: 1 response removed\n");

    let (code, _, error) = purge(&["--path", "a"]);
    assert!(code == 2 && error.contains("hint: write `/a`"), "{error}");
    assert_eq!(purge(&[]).0, 2);
}

#[test]
fn what_is_stored_stays_over_a_reload_and_a_server_without_a_cache_says_so() {
    let program = Program::start(PIPELINE, &[APP]);
    let first = program.get("/a");
    let (code, said, _) = ziggurat(program.folder(), &["reload"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(program.get("/a").split_once("\r\n\r\n").unwrap().1, first.split_once("\r\n\r\n").unwrap().1);
    let live = ziggurat(program.folder(), &["explain", "--live", "GET", "http://test/a"]).1;
    assert!(live.contains("stored 200 of 1400 octets") && live.contains("looks up http://"), "{live}");

    fs::write(program.folder().join("pipeline.json"), PIPELINE.replace(r#"{ "cache": { "wait": "5m" } }, "#, "")).unwrap();
    assert_eq!(ziggurat(program.folder(), &["reload"]).0, 0);
    let (code, _, error) = ziggurat(program.folder(), &["purge", "--all"]);
    assert!(code == 2 && error.contains("error: the server has no cache"), "{error}");
}

#[test]
fn a_page_of_django_is_stored_and_one_with_a_session_is_not() {
    let urls = "from django.http import HttpResponse
from django.urls import path
from django.views.decorators.cache import cache_control
from django.views.decorators.vary import vary_on_headers
calls = 0
def count():
    global calls
    calls += 1
    return HttpResponse(f'call {calls}')
@cache_control(public=True, max_age=600)
@vary_on_headers('Accept-Language')
def public(request): return count()
@cache_control(max_age=600)
def visit(request):
    response = count()
    response.set_cookie('visit', '1')
    return response
def plain(request): return count()
urlpatterns = [path('public', public), path('visit', visit), path('plain', plain)]
";
    let pipeline = r#"{ "listen": "127.0.0.1:0", "layers": ["cache"], "app": { "django": { "settings": "mysite.settings", "wsgi": { "workers": 1 } } } }"#;
    let folder = site_with(pipeline, &[("mysite/urls.py", urls)]);
    let mut command = command(folder.path());
    command.arg("run");
    let program = Program::spawn(command, folder);
    let get = |path: &str, language: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: example.com\r\nAccept-Language: {language}\r\nConnection: close\r\n\r\n");
        program.exchange(head).split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    assert_eq!((get("/public", "de"), get("/public", "de"), get("/public", "en")), ("call 1".into(), "call 1".into(), "call 2".into()));
    assert_eq!((get("/visit", "de"), get("/visit", "de")), ("call 3".into(), "call 4".into()));
    assert_eq!((get("/plain", "de"), get("/plain", "de")), ("call 5".into(), "call 6".into()));
}

/// Sends requests together on one connection over HTTP/2.
fn over_http2(program: &Program, requests: Vec<http::Request<()>>) -> Vec<http::Response<Vec<u8>>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let socket = tokio::net::TcpStream::connect(program.address()).await.unwrap();
        let (sender, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let asked = requests.into_iter().map(|request| {
            let sender = sender.clone();
            async move {
                let (response, _) = sender.ready().await.unwrap().send_request(request, true).unwrap();
                let (parts, mut body) = response.await.unwrap().into_parts();
                let mut octets = Vec::new();
                while let Some(data) = body.data().await {
                    let data = data.unwrap();
                    body.flow_control().release_capacity(data.len()).unwrap();
                    octets.extend_from_slice(&data);
                }
                http::Response::from_parts(parts, octets)
            }
        });
        futures_util::future::join_all(asked).await
    })
}

#[test]
fn over_http2_a_page_is_stored_once_for_all_streams_and_answers_conditions_and_ranges() {
    let app = (
        "pages.py",
        "import time
calls = 0
def app(environ, start_response):
    global calls
    calls += 1
    time.sleep(0.1)
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Cache-Control', 'max-age=3600'), ('ETag', '\"v1\"')])
    return [b'call %d' % calls]
",
    );
    let pipeline = r#"{
      "listen": "127.0.0.1:0", "layers": ["cache"], "app": { "wsgi": { "app": "pages:app", "workers": 1, "threads": 1 } }
    }"#;
    let program = Program::start(pipeline, &[app]);
    let ask = |method: &str, target: &str, headers: &[(&'static str, &'static str)]| {
        let mut request = http::Request::builder().method(method).uri(format!("http://test{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    };
    let one = |method: &str, target: &str, headers: &[(&'static str, &'static str)]| {
        over_http2(&program, vec![ask(method, target, headers)]).remove(0)
    };
    let together = over_http2(&program, (0..50).map(|_| ask("GET", "/page", &[])).collect());
    assert!(together.iter().all(|answer| answer.status() == 200 && answer.body() == b"call 1"));
    let part = one("GET", "/page", &[("range", "bytes=5-")]);
    assert_eq!(
        (part.status().as_u16(), part.body().as_slice(), &part.headers()["content-range"]),
        (206, &b"1"[..], &"bytes 5-5/6".parse().unwrap())
    );
    let known = one("GET", "/page", &[("if-none-match", "\"v1\"")]);
    assert!(known.status() == 304 && known.body().is_empty() && known.headers()["etag"] == "\"v1\"");
    let head = one("HEAD", "/page", &[]);
    assert!(head.status() == 200 && head.body().is_empty() && head.headers()["content-length"] == "6");
    assert!(head.headers()["cache-status"].to_str().unwrap().starts_with("ziggurat; hit; ttl="));
    // The authority is the host: HTTP/1.1 has the same page.
    let answer = program.exchange("GET /page HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert!(answer.ends_with("call 1"), "{answer}");
    let other = program.exchange("GET /page HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n");
    assert!(other.ends_with("call 2"), "{other}");
    assert_eq!(one("POST", "/page", &[]).status(), 200);
    assert_eq!(one("GET", "/page", &[]).body(), b"call 4", "a POST has removed it");
}
