//! The Django example behind nginx and Apache in each protocol, and as a CGI program of Apache: its pages, sign-in, forms, uploads, streams and errors.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::apache::{self, Apache};
use crate::browser::{Browser, Duplex};
use crate::cgi_command;
use crate::example::prepared_django;
use crate::listen::PROTOCOLS;
use crate::nginx::{self, Nginx};
use crate::support::{PATIENCE, Program, command};

/// The example on a socket per protocol.
fn example() -> Program {
    let folder = prepared_django();
    let path = folder.path().join("pipeline.json");
    let mut pipeline: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    pipeline["listen"] = PROTOCOLS.map(|protocol| json!({ "at": format!("unix:{protocol}.sock"), "protocol": protocol })).to_vec().into();
    fs::write(&path, pipeline.to_string()).unwrap();
    let mut command = command(folder.path());
    command.args(["run", "pipeline.json"]).env("ALLOWED_HOSTS", "*");
    Program::spawn(command, folder)
}

/// Visits every page of the site.
fn visit(browser: &mut Browser<'_>, what: &str) {
    let home = browser.get("/");
    assert!(home.status == 200 && home.text().contains("Seven steps"), "{what}: {}", home.text());
    assert_ne!(home.header("x-request-id"), "", "{what}");
    let head = browser.request("HEAD", "/", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0), "{what}");
    let missing = browser.get("/nowhere/");
    assert_eq!(missing.status, 404, "{what}");
    let failed = browser.get("/error/");
    assert!(failed.status == 500 && failed.text().contains("Something broke") && !failed.text().contains("RuntimeError"), "{what}");

    let css = format!("/static/notes/site{}", home.quoted("<link rel=\"stylesheet\" href=\"/static/notes/site"));
    let plain = browser.get(&css);
    assert_eq!((plain.status, plain.header("content-type")), (200, "text/css; charset=utf-8"), "{what}");
    let unchanged = browser.request("GET", &css, &[("If-None-Match", plain.header("etag"))], b"");
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0), "{what}");
    let packed = browser.request("GET", &css, &[("Accept-Encoding", "gzip")], b"");
    assert_eq!((packed.status, packed.header("content-encoding")), (200, "gzip"), "{what}");

    let whole = browser.get("/stream/?lines=3&pause=0").text();
    assert!(whole.contains("Line 3 left") && whole.contains("That was all."), "{what}");

    let token = browser.get("/admin/login/?next=/admin/").token();
    let fields = [("csrfmiddlewaretoken", &*token), ("username", "admin"), ("password", "admin")];
    let signed_in = browser.post("/admin/login/?next=/admin/", &fields);
    assert_eq!((signed_in.status, signed_in.header("location")), (302, "/admin/"), "{what}: {}", signed_in.text());
    assert!(browser.get("/admin/notes/note/").text().contains("Seven steps"), "{what}");
    let environ = browser.get("/environ/").text();
    assert!(environ.contains("wsgi.file_wrapper") && !environ.contains("HTTP_X_FORWARDED"), "{what}");

    let token = browser.get("/notes/new/").token();
    assert_eq!(browser.post("/notes/new/", &[("title", "Reeds"), ("text", "They bend.")]).status, 403, "{what}: a form without its token");
    let kept = browser.post("/notes/new/", &[("csrfmiddlewaretoken", &token), ("title", "Reeds"), ("text", "They bend.")]);
    assert_eq!(kept.status, 302, "{what}");
    let note = kept.header("location").to_owned();
    assert!(browser.get(&note).text().contains("Your note is kept."), "{what}");
    assert!(browser.get("/api/notes/").text().contains("\"title\": \"Reeds\""), "{what}");

    let file: Vec<u8> = (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let attached = browser.upload(&format!("{note}attach/"), &[("csrfmiddlewaretoken", &token)], "reeds.bin", &file);
    assert_eq!((attached.status, attached.header("location")), (302, &*note), "{what}: {}", attached.text());
    let page = browser.get(&note);
    assert!(page.text().contains("reeds.bin is attached: 10000000 octets."), "{what}");
    let download = browser.get(&page.quoted("<td><a href=\""));
    assert!(download.header("content-disposition").contains("reeds.bin"), "{what}");
    assert!(download.body == file, "{what}: the download differs from the upload");
    let large = browser.upload(&format!("{note}attach/"), &[("csrfmiddlewaretoken", &token)], "large", &vec![0; 10 << 20]);
    assert_eq!(large.status, 413, "{what}");
}

/// Reads a stream until its first line, long before its end.
fn reads_the_first_line(browser: &Browser<'_>, what: &str) {
    let mut stream: Box<dyn Duplex> = browser.send("GET", "/stream/?lines=100&pause=1000", &[], b"");
    let (mut octets, mut buffer) = (Vec::new(), [0; 1000]);
    while !octets.windows(11).any(|text| text == b"Line 1 left") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{what}: {}", String::from_utf8_lossy(&octets));
        octets.extend_from_slice(&buffer[..read]);
    }
    assert!(!String::from_utf8_lossy(&octets).contains("Line 90 left"), "{what}");
}

#[test]
fn django_is_the_same_site_behind_nginx_in_each_protocol() {
    let program = example();
    for buffering in [true, false] {
        let Some(nginx) = Nginx::start(&program, &format!("nginx-{buffering}"), &nginx::hosts(buffering)) else { return };
        let socket = nginx.socket();
        for protocol in PROTOCOLS {
            let connect = || {
                let stream = UnixStream::connect(&socket).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream
            };
            let mut browser = Browser::through(protocol, connect);
            let what = format!("{protocol}, buffering {buffering}");
            visit(&mut browser, &what);
            if !buffering {
                reads_the_first_line(&browser, &what);
            }
        }
        let log = nginx.log();
        assert!(!log.contains("[crit]") && !log.contains("[alert]"), "{log}");
    }
}

#[test]
fn django_is_the_same_site_behind_apache_in_each_protocol() {
    let program = example();
    let Some(apache) = Apache::before(program.folder(), &apache::hosts(program.folder())) else { return };
    for protocol in PROTOCOLS {
        visit(&mut Browser::through(protocol, || apache.connect()), protocol);
    }
}

#[test]
fn django_is_the_same_site_as_a_cgi_program_of_apache() {
    let folder = prepared_django();
    cgi_command::write_script(folder.path(), &fs::read_to_string(folder.path().join("pipeline.json")).unwrap());
    // The user of Apache writes there.
    let writable = Command::new("chmod").args(["-R", "a+rwX"]).arg(folder.path()).status().unwrap();
    assert!(writable.success());
    let at = folder.path().display();
    let Some(apache) = cgi_command::apache(folder.path(), &format!("SetEnv ALLOWED_HOSTS *\nScriptAlias / {at}/site.cgi/\n")) else {
        return;
    };
    let mut browser = Browser::through("cgi", || apache.connect());
    visit(&mut browser, "cgi");
    reads_the_first_line(&browser, "cgi");
    let log = fs::read_to_string(Path::new(folder.path()).join("httpd.log")).unwrap();
    assert!(log.contains("RuntimeError: this page always fails") && log.contains("\"GET /error/ HTTP/1.1\" 500"), "{log}");
}
