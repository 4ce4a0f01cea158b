//! The app `fastcgi` before PHP-FPM, where it is installed.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

use crate::apps::{Server, post, program};
use crate::support::{PATIENCE, Program, folder_of};

/// PHP-FPM with two children and this in its configuration, at `php.sock` in this folder. `None` if it is not installed.
fn fpm(folder: &Path, more: &str) -> Option<Server> {
    let at = folder.display();
    let pool = format!(
        "[global]\nerror_log = {at}/fpm.log\ndaemonize = no\n[www]\nlisten = {at}/php.sock\nuser = root\ngroup = root\npm = static\npm.max_children = 2\n\
         catch_workers_output = no\nphp_admin_value[post_max_size] = 20M\nphp_admin_value[upload_max_filesize] = 20M\nphp_admin_flag[log_errors] = on\n{more}\n"
    );
    fs::write(folder.join("pool.conf"), pool).unwrap();
    // Debian puts the version into the name.
    let is_fpm = |path: &std::path::PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("php-fpm"));
    let fpm = fs::read_dir("/usr/sbin").unwrap().map(|entry| entry.unwrap().path()).find(is_fpm)?;
    Server::start(Command::new(fpm).args(["-F", "-R", "-y"]).arg(folder.join("pool.conf")), &folder.join("php.sock"))
}

/// The program before it.
fn before(folder: &Path) -> Program {
    let at = folder.display();
    program(&format!(r#"{{ "fastcgi": {{ "to": "unix:{at}/php.sock", "root": "{at}/public" }} }}"#))
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
    let Some(_fpm) = fpm(folder.path(), "") else { return };
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
fn each_client_is_served_when_there_are_more_than_php_has_children() {
    let folder = folder_of(&[("public/index.php", "<?php usleep(20000); echo 'here';")]);
    let Some(_fpm) = fpm(folder.path(), "") else { return };
    let program = before(folder.path());
    let served: [AtomicUsize; 6] = std::array::from_fn(|_| AtomicUsize::new(0));
    let figures = || served.each_ref().map(|count| count.load(SeqCst));
    let (address, since) = (program.address(), Instant::now());
    // Those that are served go on, so that nobody else is served only because they have ended.
    thread::scope(|scope| {
        for count in &served {
            scope.spawn(|| {
                while figures().iter().any(|count| *count < 5) && since.elapsed() < PATIENCE {
                    let answer = get(address, "/");
                    assert!(answer.ends_with("here"), "{answer}");
                    count.fetch_add(1, SeqCst);
                }
            });
        }
    });
    assert!(figures().iter().all(|count| *count >= 5), "{:?}\n{}", figures(), program.log());
}

#[test]
fn a_script_that_goes_on_after_its_response_holds_up_no_other_request() {
    let goes_on = "<?php echo 'done'; fastcgi_finish_request(); $end = time() + 60;
        while (!file_exists('../go') && time() < $end) { usleep(1000); clearstatcache(); }
        touch('../went');";
    let folder = folder_of(&[("public/index.php", "<?php echo 'here';"), ("public/goes_on.php", goes_on)]);
    let Some(_fpm) = fpm(folder.path(), "") else { return };
    let program = before(folder.path());
    let answer = get(program.address(), "/goes_on.php");
    assert!(answer.ends_with("done"), "{answer}");
    for _ in 0..10 {
        let answer = get(program.address(), "/");
        assert!(answer.ends_with("here"), "{answer}");
    }
    assert!(!folder.path().join("went").exists());
    fs::write(folder.path().join("go"), "").unwrap();
    let since = Instant::now();
    while !folder.path().join("went").exists() {
        assert!(since.elapsed() < PATIENCE, "the script does not go on");
        thread::yield_now();
    }
}

#[test]
fn no_request_is_lost_when_children_of_php_end() {
    let folder = folder_of(&[("public/index.php", "<?php echo strlen(file_get_contents('php://input'));")]);
    let Some(_fpm) = fpm(folder.path(), "pm.max_requests = 2") else { return };
    let program = before(folder.path());
    let address = program.address();
    let request = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n{}", "x".repeat(3000));
    // Requests follow each other at once, so that they meet a child that is about to end.
    let client = || {
        let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
        stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        for _ in 0..100 {
            stream.get_mut().write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            while !answer.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut answer).unwrap() > 0, "{answer}");
            }
            let mut body = [0; 4];
            stream.read_exact(&mut body).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 ") && body == *b"3000", "{answer}");
        }
    };
    thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(client))));
}

/// GET on a connection of its own; the whole answer.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: h\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}
