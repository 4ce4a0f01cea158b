//! Native layers around a WSGI app: what the app is told, and what is kept from it.

use std::time::{Duration, Instant};

use crate::support::{Program, command};

const ECHO: &str = "def app(environ, start_response):\n\
    \x20   start_response('200 OK', [('Content-Type', 'text/plain')])\n\
    \x20   names = ['REMOTE_ADDR', 'REMOTE_USER', 'AUTH_TYPE', 'HTTP_X_FORWARDED_FOR', 'wsgi.url_scheme', 'HTTP_HOST', 'SERVER_PORT', 'SCRIPT_NAME', 'PATH_INFO']\n\
    \x20   return [''.join(f'{name}={environ.get(name)}\\n' for name in names).encode()]\n";

fn forwarded_get(program: &Program) -> String {
    program.exchange(
        "GET /page HTTP/1.1\r\nHost: inside:8000\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: example.com\r\nConnection: close\r\n\r\n",
    )
}

#[test]
fn forwarded_headers_of_an_untrusted_client_are_neither_believed_nor_passed_on() {
    for layers in ["[]", r#"["forwarded"]"#, r#"[{ "forwarded": "10.0.0.0/8" }]"#] {
        let pipeline = format!(r#"{{ "listen": "127.0.0.1:0", "layers": {layers}, "app": {{ "wsgi": "echo:app" }} }}"#);
        let answer = forwarded_get(&Program::start(&pipeline, &[("echo.py", ECHO)]));
        for line in ["REMOTE_ADDR=127.0.0.1\n", "HTTP_X_FORWARDED_FOR=None\n", "wsgi.url_scheme=http\n", "HTTP_HOST=inside:8000\n"] {
            assert!(answer.contains(line), "{layers}: {answer}");
        }
    }
}

#[test]
fn a_trusted_proxy_is_believed() {
    let program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "layers": [{ "forwarded": "127.0.0.1" }], "app": { "wsgi": "echo:app" } }"#,
        &[("echo.py", ECHO)],
    );
    let answer = forwarded_get(&program);
    for line in ["REMOTE_ADDR=203.0.113.7\n", "wsgi.url_scheme=https\n", "HTTP_HOST=example.com\n", "SERVER_PORT=443\n"] {
        assert!(answer.contains(line), "{answer}");
    }
}

#[test]
fn the_user_of_a_native_layer_is_known_to_the_app_and_the_access_log() {
    // openssl passwd -apr1 -salt saltsalt secret
    let mut program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "layers": ["access_log", { "basic_auth": "users" }], "app": { "wsgi": "echo:app" } }"#,
        &[("echo.py", ECHO), ("users", "ann:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\n")],
    );
    let refused = program.get("/");
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("www-authenticate: Basic realm="), "{refused}");
    let answer = program.exchange("GET / HTTP/1.1\r\nHost: test\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("REMOTE_USER=ann\n") && answer.contains("AUTH_TYPE=Basic\n"), "{answer}");
    program.wait_for_log("127.0.0.1 - ann [");
}

#[test]
fn a_key_that_the_program_makes_lets_its_owner_in_without_a_restart() {
    let mut program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "layers": ["access_log", { "api_key": { "keys": "keys", "remove": true } }], "app": { "wsgi": "echo:app" } }"#,
        &[("echo.py", ECHO), ("keys", "old:3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea")],
    );
    let refused = program.get("/");
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("www-authenticate: Bearer realm=\"restricted\"\r\n"), "{refused}");
    let made = command(program.folder()).args(["key", "ann", "--scope", "read", "--to", "keys"]).output().unwrap();
    let key = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success() && key.trim_end().len() == 43, "{key}");
    let file = std::fs::read_to_string(program.folder().join("keys")).unwrap();
    assert!(file.lines().count() == 2 && file.contains("\nann:") && file.ends_with(":read\n"), "{file}");
    let ask = format!("GET / HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n", key.trim_end());
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut answer = program.exchange(&ask);
    while answer.starts_with("HTTP/1.1 401") && Instant::now() < deadline {
        answer = program.exchange(&ask);
    }
    assert!(answer.contains("REMOTE_USER=ann\n") && answer.contains("AUTH_TYPE=Bearer\n"), "{answer}");
    program.wait_for_log("127.0.0.1 - ann [");

    let refused = command(program.folder()).args(["key", "a:b"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let made = String::from_utf8(command(program.folder()).args(["key", "ben"]).output().unwrap().stdout).unwrap();
    assert!(made.starts_with("key:  ") && made.contains("\nline: ben:"), "{made}");
}

#[test]
fn a_mounted_app_knows_its_prefix() {
    let program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "app": { "routes": [{ "mount": "/blog", "app": { "wsgi": "echo:app" } }, { "app": { "respond": 404 } }] } }"#,
        &[("echo.py", ECHO)],
    );
    for (target, script_name, path_info) in [("/blog/a%20b", "/blog", "/a b"), ("/blog/", "/blog", "/"), ("/blog", "/blog", "")] {
        let answer = program.get(target);
        assert!(answer.ends_with(&format!("SCRIPT_NAME={script_name}\nPATH_INFO={path_info}\n")), "{target}: {answer}");
    }
    assert!(program.get("/blogs").starts_with("HTTP/1.1 404"));
}

/// Asks until the answer begins so, for as long as a test may take.
fn wait_for_status(program: &Program, target: &str, status: u16) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = program.get(target);
        if answer.starts_with(&format!("HTTP/1.1 {status}")) || Instant::now() > deadline {
            return answer;
        }
    }
}

#[test]
fn a_file_closes_the_running_site_and_its_removal_opens_it() {
    let program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "layers": [{ "maintenance": { "file": "closed", "open": "/healthz" } }], "app": { "wsgi": "echo:app" } }"#,
        &[("echo.py", ECHO)],
    );
    assert!(program.get("/page").starts_with("HTTP/1.1 200"));
    std::fs::write(program.folder().join("closed"), "").unwrap();
    let closed = wait_for_status(&program, "/page", 503);
    assert!(closed.contains("retry-after: 60\r\n") && closed.ends_with("the site is closed for maintenance\n"), "{closed}");
    assert!(program.get("/healthz").starts_with("HTTP/1.1 200"));
    std::fs::remove_file(program.folder().join("closed")).unwrap();
    assert!(wait_for_status(&program, "/page", 200).contains("PATH_INFO=/page\n"));
}

/// `name=value&`, a thousand times, as gzip.
const CODED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xed\xc6\xa1\x01\x00\x20\x08\x00\xb0\x6f\xfc\xc2\x63\x08\x34\xa5\xe9\xfd\xbc\x41\xd8\xd2\x2a\x6e\xee\x1f\xe7\xe5\x2a\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\xd5\xa9\x6d\xee\x0b\xf7\x57\xf8\x2a\x00\x00";

#[test]
fn a_coded_body_reaches_the_app_plain_and_with_its_length() {
    let app = "def app(environ, start_response):\n\
        \x20   start_response('200 OK', [])\n\
        \x20   body = environ['wsgi.input'].read()\n\
        \x20   return [f'{len(body)} of {environ[\"CONTENT_LENGTH\"]}, {body[-6:]}, {environ.get(\"HTTP_CONTENT_ENCODING\")}'.encode()]\n";
    let program = Program::start(
        r#"{ "listen": "127.0.0.1:0", "layers": [{ "decompress": "11kB" }], "app": { "wsgi": "sized:app" } }"#,
        &[("sized.py", app)],
    );
    let sent = |coding: &str, body: &[u8]| {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        program.exchange([head.as_bytes(), body].concat())
    };
    assert!(sent("gzip", CODED).ends_with("11000 of 11000, b'value&', None"), "{}", sent("gzip", CODED));
    assert!(sent("gzip", &CODED[..60]).starts_with("HTTP/1.1 400"));
    assert!(sent("gzip", &[CODED, CODED].concat()).starts_with("HTTP/1.1 413"));
    let refused = sent("compress", CODED);
    assert!(refused.starts_with("HTTP/1.1 415") && refused.contains("accept-encoding: gzip, deflate, br, zstd\r\n"), "{refused}");
}

#[test]
fn a_copy_of_a_request_reaches_the_other_server() {
    let mut other = Program::start(r#"{ "listen": "127.0.0.1:0", "layers": ["access_log"], "app": { "respond": 404 } }"#, &[]);
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "layers": [{{ "mirror": "http://{}" }}], "app": {{ "wsgi": "echo:app" }} }}"#,
        other.address()
    );
    let program = Program::start(&pipeline, &[("echo.py", ECHO)]);
    assert!(program.get("/copied?once").contains("PATH_INFO=/copied\n"));
    let line = other.wait_for_log("/copied?once");
    assert!(line.contains("404"), "{line}");
}
