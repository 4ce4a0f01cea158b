//! Layers above the apps `fastcgi` and `cgi`: files that the app names for `sendfile`, and bodies without a length below `buffer`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::apps::fake;
use crate::front::record;
use crate::support::{Program, command, folder_of};

/// A program with the layer `sendfile` over a FastCGI app that answers with this, and over a folder of CGI programs.
fn site(folder: tempfile::TempDir, fastcgi: &str) -> Program {
    let answer = [record(6, 1, fastcgi.as_bytes()), record(3, 1, &[0; 8])].concat();
    fake(folder.path(), answer);
    let at = folder.path().display();
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "layers": [{{ "sendfile": {{ "at": "/protected", "root": "private" }} }}], "app": {{ "routes": [
            {{ "mount": "/cgi", "app": {{ "cgi": {{ "root": "bin" }} }} }},
            {{ "app": {{ "fastcgi": "unix:{at}/fake.sock" }} }}
        ] }} }}"#
    );
    fs::write(folder.path().join("pipeline.json"), pipeline).unwrap();
    let mut command = command(folder.path());
    command.args(["run", "pipeline.json"]);
    Program::spawn(command, folder)
}

fn executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_file_that_a_fastcgi_app_or_a_cgi_program_names_is_sent_in_place_of_its_body() {
    let folder = folder_of(&[
        ("private/report", "0123456789"),
        ("secret", "SECRET"),
        (
            "bin/path",
            "#!/bin/sh\nprintf 'Content-Type: a/b\\nSet-Cookie: a=1\\nX-Sendfile: %s/private/report\\n\\nof the program' \"${PWD%/bin}\"\n",
        ),
        ("bin/outside", "#!/bin/sh\nprintf 'Content-Type: a/b\\nX-Sendfile: %s/secret\\n\\n' \"${PWD%/bin}\"\n"),
    ]);
    executable(&folder.path().join("bin/path"));
    executable(&folder.path().join("bin/outside"));
    let head = "Content-Type: a/b\r\nSet-Cookie: a=1\r\nContent-Length: 10\r\nX-Accel-Redirect: /protected/report\r\n\r\n";
    let program = site(folder, &format!("{head}of the app"));
    for path in ["/", "/cgi/path"] {
        let ask =
            |method: &str, more: &str| program.exchange(format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{more}Connection: close\r\n\r\n"));
        let whole = ask("GET", "");
        assert!(whole.starts_with("HTTP/1.1 200 ") && whole.ends_with("\r\n\r\n0123456789"), "{path}: {whole}");
        for line in ["content-length: 10", "content-type: a/b", "set-cookie: a=1"] {
            assert!(whole.contains(&format!("\r\n{line}\r\n")), "{path} {line}: {whole}");
        }
        assert!(!whole.contains("x-accel-redirect") && !whole.contains("x-sendfile"), "{path}: {whole}");
        let part = ask("GET", "Range: bytes=2-4\r\n");
        assert!(part.starts_with("HTTP/1.1 206 ") && part.ends_with("\r\n\r\n234"), "{path}: {part}");
        let head = ask("HEAD", "");
        assert!(head.contains("\r\ncontent-length: 10\r\n") && head.ends_with("\r\n\r\n"), "{path}: {head}");
        let tag = whole.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        assert!(ask("GET", &format!("If-None-Match: {tag}\r\n")).starts_with("HTTP/1.1 304 "), "{path}");
    }
    let outside = program.get("/cgi/outside");
    assert!(outside.starts_with("HTTP/1.1 404 ") && !outside.contains("SECRET"), "{outside}");
}

#[test]
fn a_cgi_program_below_buffer_knows_the_length_of_a_body_in_chunks() {
    let folder = folder_of(&[(
        "pipeline.json",
        r#"{ "listen": "127.0.0.1:0", "layers": [{ "buffer": "1MiB" }], "app": { "cgi": { "program": "length" } } }"#,
    )]);
    let script = folder.path().join("length");
    fs::write(&script, "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\n%s %s.' $CONTENT_LENGTH $(wc -c)\n").unwrap();
    executable(&script);
    let mut start = command(folder.path());
    start.args(["run", "pipeline.json"]);
    let program = Program::spawn(start, folder);
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let answer = program.exchange(chunked);
    assert!(answer.contains("5 5."), "{answer}");
}
