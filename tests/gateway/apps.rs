//! The apps `fastcgi`, `scgi` and `uwsgi` before PHP-FPM and uWSGI, where they are installed, and before servers that no sound peer would be.

use std::fs;
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
struct Server(Child);

impl Server {
    /// `None` if the program is not installed. Waits until it listens on the socket.
    fn start(command: &mut Command, socket: &Path) -> Option<Self> {
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

/// The program with this app. `peer` is a folder with the sockets of servers.
fn program(app: &str) -> Program {
    Program::start(&format!(r#"{{ "listen": "127.0.0.1:0", "app": {app} }}"#), &[])
}

fn post(program: &Program, path: &str, more: &str, body: &[u8]) -> String {
    let head = format!("POST {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n", body.len());
    program.exchange([head.as_bytes(), body].concat())
}

const SCRIPT: &str = r#"<?php
session_save_path(__DIR__);
switch ($_SERVER['PATH_INFO'] ?? '') {
case '/upload':
    echo $_FILES['f']['size'] ?? -1, ' ', sha1_file($_FILES['f']['tmp_name']);
    break;
case '/raw':
    $body = file_get_contents('php://input');
    echo strlen($body), ' ', sha1($body);
    break;
case '/session':
    session_start();
    echo 'visit ', $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
    break;
case '/status':
    http_response_code(418);
    header('X-A: 1');
    error_log('a line for the log');
    break;
case '/move':
    header('Location: /there');
    break;
case '/large':
    for ($i = 0; $i < 1000; $i++) echo str_repeat('0123456789', 1000);
    break;
case '/die':
    echo 'begins';
    ob_flush();
    flush();
    posix_kill(getmypid(), 9);
    break;
default:
    foreach (['SCRIPT_NAME', 'PATH_INFO', 'SCRIPT_FILENAME', 'DOCUMENT_ROOT', 'REQUEST_URI', 'QUERY_STRING', 'REMOTE_ADDR', 'HTTPS', 'HTTP_PROXY', 'SITE'] as $name)
        echo $name, '=', $_SERVER[$name] ?? '-', "\n";
}
"#;

#[test]
fn php_runs_scripts_with_uploads_sessions_and_errors() {
    let folder =
        folder_of(&[("public/index.php", SCRIPT), ("public/other.php", "<?php echo 'the other one';"), ("public/a.txt", "not a script")]);
    let at = folder.path().display();
    let pool = format!(
        "[global]\nerror_log = {at}/fpm.log\ndaemonize = no\n[www]\nlisten = {at}/php.sock\nuser = root\ngroup = root\npm = static\npm.max_children = 2\n\
         catch_workers_output = no\nphp_admin_value[post_max_size] = 20M\nphp_admin_value[upload_max_filesize] = 20M\nphp_admin_flag[log_errors] = on\n"
    );
    fs::write(folder.path().join("pool.conf"), pool).unwrap();
    // Debian puts the version into the name.
    let is_fpm = |path: &std::path::PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("php-fpm"));
    let Some(fpm) = fs::read_dir("/usr/sbin").unwrap().map(|entry| entry.unwrap().path()).find(is_fpm) else { return };
    let mut fpm = Command::new(fpm);
    fpm.args(["-F", "-R", "-y"]).arg(folder.path().join("pool.conf"));
    let Some(_fpm) = Server::start(&mut fpm, &folder.path().join("php.sock")) else { return };
    let app = format!(
        r#"{{ "routes": [{{ "mount": "/php", "app": {{ "fastcgi": {{ "to": "unix:{at}/php.sock", "root": "{at}/public", "params": {{ "SITE": "mine" }} }} }} }}] }}"#
    );
    let mut program = program(&app);
    let answer = program.exchange("GET /php/a/post/?x=%20 HTTP/1.1\r\nHost: h\r\nProxy: evil\r\nConnection: close\r\n\r\n");
    for line in [
        "SCRIPT_NAME=/php/index.php\n".to_owned(),
        "PATH_INFO=\n".to_owned(),
        format!("SCRIPT_FILENAME={at}/public/index.php\n"),
        format!("DOCUMENT_ROOT={at}/public\n"),
        "REQUEST_URI=/php/a/post/?x=%20\n".to_owned(),
        "QUERY_STRING=x=%20\n".to_owned(),
        "REMOTE_ADDR=127.0.0.1\n".to_owned(),
        "HTTPS=-\n".to_owned(),
        "HTTP_PROXY=-\n".to_owned(),
        "SITE=mine\n".to_owned(),
    ] {
        assert!(answer.contains(&line), "{line}{answer}");
    }
    assert!(program.get("/php/other.php").contains("the other one"));
    assert!(program.get("/php/a.txt/x.php").starts_with("HTTP/1.1 404 "));
    assert!(program.get("/php/%2e%2e/secret.php").starts_with("HTTP/1.1 4"));
    let data: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let form = [b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n", &data[..], b"\r\n--b--\r\n"].concat();
    let upload = post(&program, "/php/index.php/upload", "Content-Type: multipart/form-data; boundary=b\r\n", &form);
    let raw = post(&program, "/php/index.php/raw", "Content-Type: a/b\r\n", &data);
    let digest = |answer: &str| answer.rsplit_once("5000000 ").map(|(_, digest)| digest.chars().take(40).collect::<String>());
    assert!(digest(&upload).is_some_and(|digest| digest.len() == 40) && digest(&upload) == digest(&raw), "{upload}\n{raw}");
    let first = program.get("/php/index.php/session");
    assert!(first.contains("visit 1"), "{first}");
    let cookie = first.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap().split(';').next().unwrap().to_owned();
    let again =
        program.exchange(format!("GET /php/index.php/session HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"));
    assert!(again.contains("visit 2"), "{again}");
    let status = program.get("/php/index.php/status");
    assert!(status.starts_with("HTTP/1.1 418 ") && status.contains("x-a: 1\r\n"), "{status}");
    assert!(program.wait_for_log("a line for the log").contains("request=GET /php/index.php/status"));
    let moved = program.get("/php/index.php/move");
    assert!(moved.starts_with("HTTP/1.1 302 ") && moved.contains("location: /there\r\n"), "{moved}");
    assert!(program.get("/php/index.php/large").len() > 10_000_000);
    let head = program.exchange("HEAD /php/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    // A response that breaks off does not look complete.
    let died = program.get("/php/index.php/die");
    assert!(!died.ends_with("0\r\n\r\n"), "{died}");
    program.wait_for_log("the connection ended before the body");
    assert!(program.get("/php/").starts_with("HTTP/1.1 200 "));
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

/// Answers each request with `pieces`, and keeps its connections. Returns how many were opened.
fn fake_kept(folder: &Path, pieces: Vec<Vec<u8>>) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(folder.join("fake.sock")).unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, SeqCst);
            let (mut stream, pieces) = (stream.unwrap(), pieces.clone());
            thread::spawn(move || {
                while let Some((kind, _, content)) = read_record(&mut stream) {
                    if kind == 5 && content.is_empty() && !pieces.iter().all(|piece| stream.write_all(piece).is_ok()) {
                        return;
                    }
                }
            });
        }
    });
    opened
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
fn a_connection_is_kept_whatever_the_length_of_a_response_and_however_it_comes() {
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
        let opened = fake_kept(folder.path(), pieces.clone());
        let program = program(&format!(r#"{{ "fastcgi": "unix:{}/fake.sock" }}"#, folder.path().display()));
        for _ in 0..20 {
            let answer = program.exchange(format!("{method} / HTTP/1.0\r\nHost: h\r\n\r\n"));
            assert!(answer.split_once("\r\n\r\n").is_some_and(|(_, found)| found == body), "{method} {pieces:?}: {answer}");
        }
        // One that is not back yet is not waited for.
        assert!(opened.load(SeqCst) < 10, "{} connections for 20 requests: {method} {pieces:?}", opened.load(SeqCst));
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
