//! Every folder of examples/, served by its own pipeline file.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;

use crate::browser::{Browser, Page};
use crate::example::{copy_of, prepared_django, python_command, repository};
use crate::support::{Program, command};

#[test]
fn hello_greets_and_echoes_and_counts() {
    let program = serve("hello");
    let mut browser = Browser::new(&program);
    assert_eq!(browser.get("/").text(), "Hello from the top of the tower\n");
    assert!(browser.get("/environ?a=1").text().contains("QUERY_STRING = 'a=1'"));
    assert_eq!(browser.request("POST", "/echo", &[], b"some words").text(), "some words");
    assert!(browser.get("/count").text().ends_with("\n100000\n"));
    assert_eq!(browser.get("/nowhere").status, 404);
}

#[test]
fn flask_counts_words_of_forms_files_and_bodies() {
    let program = serve("flask");
    let mut browser = Browser::new(&program);
    let page = browser.get("/");
    assert_eq!((page.status, page.header("content-security-policy")), (200, "default-src 'self'"));
    assert!(page.text().contains("You have counted 0 texts."));

    assert_eq!(browser.post("/", &[("text", "lay bricks")]).status, 303);
    assert!(browser.get("/").text().contains("<dt>words</dt><dd>2</dd>"));
    assert_eq!(browser.upload("/", &[], "a.txt", b"one two three\n").status, 303);
    let page = browser.get("/").text();
    assert!(page.contains("<dt>words</dt><dd>3</dd>") && page.contains("You have counted 2 texts."), "{page}");

    assert!(browser.request("POST", "/api/count", &[], b"a b c").text().contains("\"words\":3"));
    assert_eq!(browser.request("POST", "/api/count", &[], &vec![b'a'; (1 << 20) + 1]).status, 413);
    assert!(browser.get("/api/ticks?pause=0").text().ends_with("data: 10\n\n"));
    assert_ne!(browser.get("/static/words.css").header("etag"), "");
}

#[test]
fn webpy_keeps_a_list() {
    let program = serve("webpy");
    let mut browser = Browser::new(&program);
    assert_eq!(browser.post("/", &[("title", "lay <bricks>")]).status, 303);
    assert!(browser.get("/").text().contains("lay &lt;bricks&gt;"));
    assert_eq!(browser.post("/done/1", &[]).status, 303);
    assert_eq!(browser.get("/export").text(), "[x] lay <bricks>\n");
    assert_eq!(browser.get("/static/todo.css").header("content-type"), "text/css; charset=utf-8");
    assert!(program.folder().join("var/todo.sqlite3").is_file());
}

#[test]
fn routes_mounts_redirects_and_serves_a_folder() {
    let program = serve("routes");
    let mut browser = Browser::new(&program);
    assert_eq!(browser.get("/healthz").status, 204);
    assert_eq!(browser.get("/shop/").text(), "/shop/brick\n/shop/reed\n/shop/bitumen\n");
    let beta = browser.get("/beta/shop/brick");
    assert_eq!((beta.text().as_str(), beta.header("x-stage")), ("one brick costs 3\n", "beta"));
    assert_eq!(browser.get("/beta/shop").text(), "/beta/shop/brick\n/beta/shop/reed\n/beta/shop/bitumen\n");
    let moved = browser.get("/store/brick?n=2");
    assert_eq!((moved.status, moved.header("location")), (301, "/shop/brick?n=2"));
    assert!(browser.get("/files/prices.csv").text().starts_with("good,price\n"));
    assert!(browser.get("/files/").text().contains("<h1>Files</h1>"));
    assert!(
        program
            .exchange("GET /any HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close\r\n\r\n")
            .contains("the blog at blog.localhost/any")
    );
    assert_eq!(browser.get("/nowhere").status, 404);
    assert_ne!(browser.get("/nowhere").header("x-request-id"), "");
}

#[test]
fn https_serves_clients_with_and_without_certificates() {
    let folder = copy_of("https");
    let Ok(made) = Command::new("sh").arg("certificates.sh").current_dir(folder.path()).output() else { return };
    if !made.status.success() || Command::new("curl").arg("--version").output().is_err() {
        // Without openssl or curl.
        return;
    }
    let program = run(folder);
    let get = |path: &str, more: &[&str]| {
        let url = format!("https://localhost:{}{path}", program.address().port());
        let arguments = ["-sS", "-4", "-i", "--cacert", "tls/authority.pem", &url];
        let output = Command::new("curl").args(arguments).args(more).current_dir(program.folder()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let ann = ["--cert", "tls/ann.pem", "--key", "tls/ann.key"];
    let page = get("/", &[]);
    for part in [
        "HTTP/2 200",
        "x-content-type-options: nosniff",
        "wsgi.url_scheme = https\n",
        "SSL_PROTOCOL = TLSv1.3\n",
        "SSL_CLIENT_VERIFY = NONE\n",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(get("/staff/", &[]).contains(" 403"));
    let page = get("/staff/", &ann);
    for part in [" 200", "SSL_CLIENT_VERIFY = SUCCESS\n", "SSL_CLIENT_S_DN = CN=ann,O=Example\n", "REMOTE_USER = ann\n"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let listed = command(program.folder()).args(["certs"]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("localhost, 127.0.0.1, ::1") && listed.contains("tls/site.pem"), "{listed}");
}

#[test]
fn django_signs_in_to_the_admin_and_serves_its_css_natively() {
    let program = serve_django();
    let mut browser = Browser::new(&program);
    let home = browser.get("/");
    assert!(home.text().contains("Seven steps"));
    assert_eq!((home.header("x-content-type-options"), home.header("x-frame-options")), ("nosniff", "DENY"));

    let form = browser.get("/admin/login/?next=/admin/");
    let token = form.token();
    let wrong =
        browser.post("/admin/login/?next=/admin/", &[("csrfmiddlewaretoken", &token), ("username", "admin"), ("password", "wrong")]);
    assert!(wrong.text().contains("Please enter the correct username and password"));
    let right =
        browser.post("/admin/login/?next=/admin/", &[("csrfmiddlewaretoken", &token), ("username", "admin"), ("password", "admin")]);
    assert_eq!((right.status, right.header("location")), (302, "/admin/"));
    assert!(browser.get("/admin/").text().contains("Site administration"));
    assert!(browser.get("/admin/notes/note/").text().contains("Seven steps"));
    assert!(browser.get("/environ/").text().contains("wsgi.file_wrapper"));

    for before in ["<link rel=\"stylesheet\" href=\"/static/admin/css/base", "<link rel=\"stylesheet\" href=\"/static/notes/site"] {
        let page = if before.contains("admin") { &form } else { &home };
        let css = before.split("href=\"").nth(1).unwrap().to_owned() + &page.quoted(before);
        let plain = browser.get(&css);
        assert_eq!((plain.status, plain.header("content-type")), (200, "text/css; charset=utf-8"), "{css}");
        assert!(plain.header("cache-control").contains("immutable"), "{css}: {}", plain.header("cache-control"));
        assert_eq!(browser.request("GET", &css, &[("If-None-Match", plain.header("etag"))], b"").status, 304);
        for encoding in ["br", "zstd", "gzip"] {
            let small = browser.request("GET", &css, &[("Accept-Encoding", encoding)], b"");
            assert_eq!((small.status, small.header("content-encoding")), (200, encoding));
            assert!(small.header("etag").contains('"') && small.header("vary").to_lowercase().contains("accept-encoding"));
            assert!(small.body.len() < plain.body.len());
        }
    }
}

#[test]
fn django_takes_forms_and_uploads_and_gives_downloads() {
    let program = serve_django();
    let mut browser = Browser::new(&program);
    let token = browser.get("/notes/new/").token();
    assert_eq!(browser.post("/notes/new/", &[("title", "Reeds"), ("text", "They bend.")]).status, 403, "a form without its token");
    let kept = browser.post("/notes/new/", &[("csrfmiddlewaretoken", &token), ("title", "Reeds"), ("text", "They bend.")]);
    assert_eq!(kept.status, 302);
    let note = kept.header("location").to_owned();
    assert!(browser.get(&note).text().contains("Your note is kept."));
    assert!(browser.get("/api/notes/").text().contains("\"title\": \"Reeds\""));

    // More than Django keeps in memory, of octets that survive no change of encoding.
    let file: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let attached = browser.upload(&format!("{note}attach/"), &[("csrfmiddlewaretoken", &token)], "reeds.bin", &file);
    assert_eq!((attached.status, attached.header("location")), (302, note.as_str()));
    let page = browser.get(&note);
    assert!(page.text().contains("reeds.bin is attached: 3000000 octets."));
    let sha256 = page.text().split("title=\"SHA-256\">").nth(1).unwrap()[..64].to_owned();
    assert_eq!(
        sha256,
        python(
            program.folder(),
            "import hashlib, sys; print(hashlib.sha256(bytes((n * 2654435761 % 2**32) >> 24 for n in range(3000000))).hexdigest())"
        )
    );

    let download = browser.get(&page.quoted("<td><a href=\""));
    assert_eq!((download.status, download.header("content-length")), (200, "3000000"));
    assert!(download.header("content-disposition").contains("reeds.bin"));
    assert!(download.body == file, "the download differs from the upload");

    assert_eq!(browser.upload(&format!("{note}attach/"), &[("csrfmiddlewaretoken", &token)], "large", &vec![0; 10 << 20]).status, 413);
}

#[test]
fn django_streams_and_fails_as_it_should() {
    let mut program = serve_django();
    let whole = Browser::new(&program).get("/stream/?lines=3&pause=0").text();
    assert!(whole.contains("Line 3 left") && whole.contains("That was all."));

    // The whole page takes 99 seconds.
    let mut stream = program.connect();
    write!(stream, "GET /stream/?lines=100&pause=1000 HTTP/1.1\r\nHost: {}\r\n\r\n", program.address()).unwrap();
    let arrived: Vec<String> =
        BufReader::new(stream).lines().map(Result::unwrap).take_while(|line| !line.contains("Line 2 left")).collect();
    assert!(arrived.iter().any(|line| line.contains("Line 1 left")));

    assert_eq!(Browser::new(&program).get("/nowhere/").status, 404);
    let failed: Page = Browser::new(&program).get("/error/");
    assert_eq!(failed.status, 500);
    assert!(failed.text().contains("Something broke") && !failed.text().contains("RuntimeError"));
    program.wait_for_log("RuntimeError: this page always fails");
    let line = program.wait_for_log("Internal Server Error: /error/");
    assert!(line.contains(failed.header("x-request-id")), "{line}");
}

#[test]
fn django_by_its_settings_alone_is_the_same_site() {
    let folder = prepared_django();
    let mut command = command(folder.path());
    command.args(["run", "short.json"]).env("LISTEN", "127.0.0.1:0");
    let program = Program::spawn(command, folder);
    let mut browser = Browser::new(&program);
    let home = browser.get("/").text();
    assert!(home.contains("Seven steps"), "{home}");
    let start = home.find("/static/notes/site").unwrap();
    let css = browser.get(home[start..].split('"').next().unwrap());
    assert_eq!(css.header("cache-control"), "public, max-age=31536000, immutable");
    assert!(program.get("/healthz").ends_with("ok\n"));
}

#[test]
fn the_file_at_the_top_serves_the_django_example() {
    let top = fs::read_to_string(repository().join("pipeline.json")).unwrap();
    let example = fs::read_to_string(repository().join("examples/django/pipeline.json")).unwrap();
    assert_eq!(top.replace("\"examples/django\"", "\".\"").replace("examples/django/", ""), example);
}

fn serve_django() -> Program {
    run(prepared_django())
}

fn serve(example: &str) -> Program {
    run(copy_of(example))
}

fn run(folder: tempfile::TempDir) -> Program {
    let mut command = command(folder.path());
    command.arg("run").env("LISTEN", "127.0.0.1:0");
    Program::spawn(command, folder)
}

fn python(folder: &Path, program: &str) -> String {
    let output = python_command(folder).args(["-c", program]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn gateway_serves_a_front_end_an_api_and_a_chat_over_websockets() {
    let folder = copy_of("gateway");
    let mut chat = python_command(folder.path()).args(["chat.py", "0"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(chat.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let mut start = command(folder.path());
    start.arg("run").env("LISTEN", "127.0.0.1:0").env("CHAT", format!("127.0.0.1:{}", port.trim()));
    let program = Program::spawn(start, folder);
    let mut browser = Browser::new(&program);
    assert!(browser.get("/").text().contains("A chat room behind a gateway"));
    assert!(browser.get("/api/hello?you").text().contains(r#"{"hello": "you"}"#));
    assert_eq!(browser.get("/chat/healthz").text(), "ok\n");
    let moved = program.exchange("GET /a?b HTTP/1.1\r\nHost: old.localhost\r\nConnection: close\r\n\r\n");
    assert!(moved.starts_with("HTTP/1.1 308") && moved.to_lowercase().contains("location: http://localhost:8000/a?b"), "{moved}");

    let mut sockets = [program.connect(), program.connect()];
    for socket in &mut sockets {
        let lines = "Host: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        write!(socket, "GET /chat/room HTTP/1.1\r\n{lines}\r\n").unwrap();
        let head = read_until(socket, b"\r\n\r\n").to_lowercase();
        assert!(head.starts_with("http/1.1 101") && head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    }
    // A text frame with the mask 0.
    sockets[0].write_all(b"\x81\x85\0\0\0\0hello").unwrap();
    for socket in &mut sockets {
        assert_eq!(read_until(socket, b"hello"), "\u{fffd}\u{5}hello");
    }
    chat.kill().unwrap();
    chat.wait().unwrap();
    let gone = program.get("/chat/healthz");
    assert!(gone.starts_with("HTTP/1.1 502") || gone.starts_with("HTTP/1.1 503"), "{gone}");
    assert!(browser.get("/api/hello").text().contains("world"));
}

fn read_until(socket: &mut std::net::TcpStream, end: &[u8]) -> String {
    let mut octets = Vec::new();
    while !octets.ends_with(end) {
        let mut octet = [0];
        std::io::Read::read_exact(socket, &mut octet).unwrap();
        octets.push(octet[0]);
    }
    String::from_utf8_lossy(&octets).into_owned()
}
