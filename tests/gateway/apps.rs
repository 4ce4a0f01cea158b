//! The apps `fastcgi`, `scgi` and `uwsgi` before uWSGI, where it is installed, and before servers that no sound peer would be.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

use crate::front::{read_record, record};
use crate::support::{PATIENCE, Program, folder_of};

/// A server that ends with its test.
pub struct Server(Child);

impl Server {
    /// `None` if the program is not installed. Waits until it listens on the socket.
    pub fn start(command: &mut Command, socket: &Path) -> Option<Self> {
        let mut server = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?);
        let since = Instant::now();
        while UnixStream::connect(socket).is_err() {
            assert!(since.elapsed() < PATIENCE && server.0.try_wait().unwrap().is_none(), "{command:?} does not listen");
            thread::yield_now();
        }
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its children end with it, if it ends in order.
        let _ = Command::new("kill").args(["-s", "INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// The program with this app.
pub fn program(app: &str) -> Program {
    Program::start(&format!(r#"{{ "listen": "127.0.0.1:0", "app": {app} }}"#), &[])
}

pub fn post(program: &Program, path: &str, more: &str, body: &[u8]) -> String {
    let head = format!("POST {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n", body.len());
    program.exchange([head.as_bytes(), body].concat())
}

#[test]
fn uwsgi_answers_in_all_three_protocols() {
    let folder = folder_of(&[("site_under_test.py", include_str!("site.py"))]);
    let at = folder.path().display();
    for (app, option) in [("uwsgi", "--uwsgi-socket"), ("scgi", "--scgi-socket"), ("fastcgi", "--fastcgi-socket")] {
        let socket = folder.path().join(format!("{app}.sock"));
        let mut uwsgi = Command::new("uwsgi");
        uwsgi.args(["--plugin", "python3", "--need-app", "--die-on-term", "--module", "site_under_test:plain", option]).arg(&socket);
        uwsgi.current_dir(folder.path()).env("ZIGGURAT_TEST_CLOSED", folder.path().join("closed"));
        let Some(_uwsgi) = Server::start(&mut uwsgi, &socket) else { return };
        let program = program(&format!(
            r#"{{ "routes": [
                {{ "mount": "/shop", "app": {{ "{app}": "unix:{at}/{app}.sock" }} }},
                {{ "mount": "/buffered", "layers": [{{ "buffer": "1MiB" }}], "app": {{ "{app}": "unix:{at}/{app}.sock" }} }}
            ] }}"#
        ));
        let answer = program.get("/shop/a%20b?x=1");
        for part in [r#""SCRIPT_NAME": "/shop""#, r#""PATH_INFO": "/a b""#, r#""QUERY_STRING": "x=1""#, r#""REMOTE_ADDR": "127.0.0.1""#] {
            assert!(answer.contains(part), "{app} {part}: {answer}");
        }
        let upload = post(&program, "/shop/upload", "", &vec![7; 3_000_000]);
        assert!(upload.contains("\r\n\r\n3000000 ") || upload.contains("3000000 "), "{app}: {upload}");
        assert!(program.get("/shop/download").len() > 10_000_000, "{app}");
        let cookies = program.get("/shop/cookies");
        assert!(cookies.starts_with("HTTP/1.1 404 ") && cookies.matches("set-cookie: ").count() == 2, "{app}: {cookies}");
        assert!(program.get("/shop/304").starts_with("HTTP/1.1 304 "), "{app}");
        // A request without a length cannot be sent.
        let chunked = |path: &str| {
            let head = format!("POST {path}/upload HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
            program.exchange(head + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        };
        assert!(chunked("/shop").starts_with("HTTP/1.1 411 "), "{app}");
        // The layer gives it one.
        let sha256_of_abcde = "36bbe50ed96841d10443bcb670d6554f0a34b761be67ec9c4a8ad2c0c44ca42c";
        let buffered = chunked("/buffered");
        assert!(buffered.contains(&format!("5 {sha256_of_abcde}")), "{app}: {buffered}");
    }
}

/// A server that reads a FastCGI request and sends this back, on as many connections as come.
pub fn fake(folder: &Path, answer: Vec<u8>) {
    let listener = UnixListener::bind(folder.join("fake.sock")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while let Some((kind, _, content)) = read_record(&mut stream) {
                if kind == 5 && content.is_empty() {
                    break;
                }
            }
            let _ = stream.write_all(&answer);
        }
    });
}

/// The connections of a server.
#[derive(Default)]
struct Connections {
    opened: AtomicUsize,
    closed: AtomicUsize,
    /// Requests that want the connection to go on.
    kept: AtomicUsize,
}

/// Answers each request with `pieces`, and waits for the next one.
fn fake_kept(folder: &Path, pieces: Vec<Vec<u8>>) -> Arc<Connections> {
    let listener = UnixListener::bind(folder.join("fake.sock")).unwrap();
    let connections = Arc::new(Connections::default());
    let count = Arc::clone(&connections);
    thread::spawn(move || {
        for stream in listener.incoming() {
            count.opened.fetch_add(1, SeqCst);
            let (mut stream, pieces, count) = (stream.unwrap(), pieces.clone(), Arc::clone(&count));
            thread::spawn(move || {
                while let Some((kind, _, content)) = read_record(&mut stream) {
                    if kind == 1 && content[2] != 0 {
                        count.kept.fetch_add(1, SeqCst);
                    }
                    if kind == 5 && content.is_empty() && !pieces.iter().all(|piece| stream.write_all(piece).is_ok()) {
                        break;
                    }
                }
                count.closed.fetch_add(1, SeqCst);
            });
        }
    });
    connections
}

#[test]
fn what_is_no_fastcgi_response_is_answered_with_502_or_503() {
    let head = |text: &str| record(6, 1, text.as_bytes());
    let end = |status: u8| record(3, 1, &[0, 0, 0, 0, status, 0, 0, 0]);
    let ok = "Content-Type: text/plain\r\n\r\n";
    for (answer, status, is_whole) in [
        ([head(&format!("{ok}body")), end(0)].concat(), 200, true),
        ([head(&format!("Status: 201\n{ok}")), record(7, 1, b"noise"), head("body"), end(0)].concat(), 201, true),
        (Vec::new(), 502, true),
        (end(0), 502, true),
        (end(1), 503, true),
        (end(2), 503, true),
        (end(3), 502, true),
        (head("no head at all\r\n\r\n"), 502, true),
        (head("Status: 100\r\n\r\n"), 502, true),
        (head(&format!("Content-Length: 1\r\nContent-Length: 1\r\n{ok}")), 502, true),
        (record(6, 2, ok.as_bytes()), 502, true),
        (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), 502, true),
        (head(&"x".repeat(40_000)).repeat(2), 502, true),
        (head(&format!("{ok}cut")), 200, false),
        ([head(&format!("Content-Length: 9\r\n{ok}cut")), end(0)].concat(), 200, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fake(folder.path(), answer.clone());
        let program = program(&format!(r#"{{ "fastcgi": {{ "to": "unix:{}/fake.sock", "eject": false }} }}"#, folder.path().display()));
        let text = program.get("/");
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {text}\n{}", answer.escape_ascii(), program.log());
        assert!(is_whole || text.contains("cut"), "{}: {text}", answer.escape_ascii());
        let ends = text.ends_with("0\r\n\r\n") || text.split_once("content-length: ").is_some_and(|(_, rest)| !rest.starts_with('9'));
        assert_eq!(ends, is_whole, "{}: {text}", answer.escape_ascii());
    }
}

#[test]
fn what_an_app_sends_behind_its_answer_is_no_part_of_the_next_one() {
    let answer = |text: &str| [record(6, 1, format!("Content-Type: text/plain\r\n\r\n{text}").as_bytes()), record(3, 1, &[0; 8])].concat();
    for behind in [answer("of another"), record(6, 1, b"stray"), b"\x01".to_vec()] {
        let folder = tempfile::tempdir().unwrap();
        fake_kept(folder.path(), vec![[answer("mine"), behind.clone()].concat()]);
        let program = program(&format!(r#"{{ "fastcgi": "unix:{}/fake.sock" }}"#, folder.path().display()));
        for _ in 0..5 {
            let text = program.get("/");
            assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("mine"), "{}: {text}", behind.escape_ascii());
        }
    }
}

#[test]
fn an_app_may_answer_and_close_before_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("fake.sock")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let early = [record(6, 1, b"Status: 503\r\nContent-Type: text/plain\r\n\r\nfull"), record(3, 1, &[0; 8])].concat();
            let _ = stream.unwrap().write_all(&early);
        }
    });
    let program = program(&format!(r#"{{ "fastcgi": {{ "to": "unix:{}/fake.sock", "eject": false }} }}"#, folder.path().display()));
    for _ in 0..10 {
        let text = program.get("/");
        assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with("full"), "{text}");
    }
}

#[test]
fn each_request_has_a_connection_that_ends_whatever_the_length_of_the_response_and_however_it_comes() {
    let ok = "Content-Type: text/plain\r\n";
    let end = record(3, 1, &[0; 8]);
    let head = |text: &str| record(6, 1, text.as_bytes());
    let long = "x".repeat(40_000);
    for (method, pieces, body) in [
        ("GET", vec![[head(&format!("{ok}\r\nbody")), end.clone()].concat()], "body"),
        ("GET", vec![[head(&format!("{ok}Content-Length: 4\r\n\r\nbody")), end.clone()].concat()], "body"),
        ("GET", vec![head(&format!("{ok}Content-Length: 4\r\n\r\nbody")), end.clone()], "body"),
        ("GET", vec![head(&format!("{ok}\r\nbo")), head("dy"), end.clone()], "body"),
        ("GET", vec![head(&format!("Content-Length: 0\r\n{ok}\r\n")), end.clone()], ""),
        ("GET", vec![[head(&format!("{ok}\r\n")), end.clone()].concat()], ""),
        ("GET", vec![[head("Status: 204\r\n\r\n"), end.clone()].concat()], ""),
        ("HEAD", vec![[head(&format!("{ok}Content-Length: 4\r\n\r\nbody")), end.clone()].concat()], ""),
        (
            "GET",
            vec![[head(&format!("{ok}Content-Length: 80000\r\n\r\n")), head(&long), head(&long), end.clone()].concat()],
            &*long.repeat(2),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let connections = fake_kept(folder.path(), pieces.clone());
        let program = program(&format!(r#"{{ "fastcgi": "unix:{}/fake.sock" }}"#, folder.path().display()));
        for _ in 0..20 {
            let answer = program.exchange(format!("{method} / HTTP/1.0\r\nHost: h\r\n\r\n"));
            assert!(answer.split_once("\r\n\r\n").is_some_and(|(_, found)| found == body), "{method} {pieces:?}: {answer}");
        }
        let since = Instant::now();
        while connections.closed.load(SeqCst) < 20 {
            assert!(since.elapsed() < PATIENCE, "{} of 20 are closed: {method} {pieces:?}", connections.closed.load(SeqCst));
            thread::yield_now();
        }
        assert_eq!((connections.opened.load(SeqCst), connections.kept.load(SeqCst)), (20, 0), "{method} {pieces:?}");
    }
}

#[test]
fn an_app_that_is_not_there_or_says_nothing_is_502_or_504_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let _silent = UnixListener::bind(folder.path().join("silent.sock")).unwrap();
    let at = folder.path().display();
    for protocol in ["fastcgi", "scgi", "uwsgi"] {
        let silent = program(&format!(r#"{{ "{protocol}": {{ "to": "unix:{at}/silent.sock", "timeout": "200ms" }} }}"#));
        assert!(silent.get("/").starts_with("HTTP/1.1 504 "), "{protocol}");
        let absent = program(&format!(r#"{{ "{protocol}": "unix:{at}/absent.sock" }}"#));
        assert!(absent.get("/").starts_with("HTTP/1.1 502 "), "{protocol}");
    }
}

#[test]
fn a_client_that_leaves_ends_the_request_at_the_app() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("app.sock")).unwrap();
    let program = program(&format!(r#"{{ "fastcgi": "unix:{}/app.sock" }}"#, folder.path().display()));
    let mut client = program.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let (mut app, _) = listener.accept().unwrap();
    app.set_read_timeout(Some(PATIENCE)).unwrap();
    app.set_write_timeout(Some(PATIENCE)).unwrap();
    while read_record(&mut app).is_some_and(|(kind, _, content)| kind != 5 || !content.is_empty()) {}
    app.write_all(&record(6, 1, b"Content-Type: a/b\r\n\r\nbegins")).unwrap();
    client.read_exact(&mut [0; 20]).unwrap();
    drop(client);
    // The connection ends, and not only a time limit.
    let (since, more) = (Instant::now(), record(6, 1, &[b'x'; 1000]));
    while app.write_all(&more).is_ok() {
        assert!(since.elapsed() < PATIENCE / 2, "{}", program.log());
    }
}
