//! nginx before the program by `uwsgi_pass`, `scgi_pass` and `fastcgi_pass`, where it is installed.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::front::{ask, connect};
use crate::listen::{PROTOCOLS, site};
use crate::support::{PATIENCE, Program};

/// A running nginx on a Unix socket.
pub struct Nginx {
    child: Child,
    folder: PathBuf,
}

/// How nginx passes on to the program by this protocol.
fn pass(protocol: &str, buffering: bool) -> String {
    let buffers = if buffering { "on" } else { "off" };
    // Without it, nginx sends SCGI the length of what has come so far.
    let uploads = if buffering || protocol == "scgi" { "on" } else { "off" };
    let keep = if protocol == "fastcgi" { "fastcgi_keep_conn on;" } else { "" };
    format!(
        "include /etc/nginx/{protocol}_params; {keep} {protocol}_buffering {buffers}; {protocol}_request_buffering {uploads};
         {protocol}_pass {protocol}_site;"
    )
}

/// One server: `/uwsgi/...` goes to the program by uwsgi as the path below it, and so on; `/uwsgi-plain/...` as it is.
fn paths(buffering: bool) -> String {
    let locations = PROTOCOLS.map(|protocol| {
        let pass = pass(protocol, buffering);
        format!(
            "location ~ ^/{protocol}(?<rest>/.*)$ {{ {pass} {protocol}_param SCRIPT_NAME /{protocol}; {protocol}_param PATH_INFO $rest; }}
             location /{protocol}-plain/ {{ {pass} }}"
        )
    });
    format!("server {{ listen unix:nginx.sock; {} }}", locations.join("\n"))
}

/// A server per protocol, whose name it has.
pub fn hosts(buffering: bool) -> String {
    let server =
        |protocol| format!("server {{ listen unix:nginx.sock; server_name {protocol}; location / {{ {} }} }}", pass(protocol, buffering));
    PROTOCOLS.map(server).join("\n")
}

impl Nginx {
    /// Starts it with these servers in a folder of this name. `None` if it is not installed.
    pub fn start(program: &Program, name: &str, servers: &str) -> Option<Self> {
        let version = Command::new("nginx").arg("-v").stderr(Stdio::null()).status();
        if version.is_err() {
            return None;
        }
        let folder = program.folder().join(name);
        fs::create_dir(&folder).unwrap();
        let at = program.folder().display();
        let servers = servers.replace("unix:nginx.sock", &format!("unix:{}/nginx.sock", folder.display()));
        let upstreams = PROTOCOLS.map(|protocol| {
            let keep = if protocol == "fastcgi" { "keepalive 4;" } else { "" };
            format!("upstream {protocol}_site {{ server unix:{at}/{protocol}.sock; {keep} }}")
        });
        let configuration = format!(
            "daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log info; user root;
             events {{ worker_connections 100; }}
             http {{
               access_log off; client_max_body_size 20m;
               client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
               uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
               {upstreams}
               {servers}
             }}",
            folder = folder.display(),
            upstreams = upstreams.join("\n"),
        );
        fs::write(folder.join("nginx.conf"), configuration).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf")).arg("-e").arg(folder.join("error.log"));
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let nginx = Self { child, folder };
        let since = Instant::now();
        while std::os::unix::net::UnixStream::connect(nginx.socket()).is_err() {
            assert!(since.elapsed() < PATIENCE, "nginx does not listen: {}", nginx.log());
            std::thread::yield_now();
        }
        Some(nginx)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("nginx.sock")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }

    fn request(&self, method: &str, path: &str, head: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{head}\r\n");
        ask(&self.socket(), &[head.as_bytes(), body].concat())
    }

    fn get(&self, path: &str) -> String {
        String::from_utf8_lossy(&self.request("GET", path, "", b"")).into_owned()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The workers end with the master, if that ends in order.
        let _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn sha256(octets: &[u8], folder: &Path) -> String {
    let path = folder.join("digest");
    fs::write(&path, octets).unwrap();
    let output = Command::new("sha256sum").arg(&path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn nginx_passes_requests_bodies_and_errors_in_each_protocol() {
    let program = site("app", "");
    for buffering in [true, false] {
        let Some(nginx) = Nginx::start(&program, &format!("nginx-{buffering}"), &paths(buffering)) else { return };
        let body: Vec<u8> = (0..10_000_000_u32).map(|n| (n % 251) as u8).collect();
        let digest = sha256(&body, program.folder());
        for protocol in PROTOCOLS {
            let answer = nginx.get(&format!("/{protocol}/a%20b?x=%20"));
            for part in [
                r#""REQUEST_METHOD": "GET""#,
                &format!(r#""SCRIPT_NAME": "/{protocol}""#),
                r#""PATH_INFO": "/a b""#,
                r#""QUERY_STRING": "x=%20""#,
                r#""HTTP_HOST": "site.test""#,
                r#""SERVER_PROTOCOL": "HTTP/1.1""#,
                r#""wsgi.url_scheme": "http""#,
            ] {
                assert!(answer.contains(part), "{protocol} {part}: {answer}\n{}", nginx.log());
            }
            let plain = nginx.get(&format!("/{protocol}-plain/x"));
            assert!(plain.contains(&format!(r#""SCRIPT_NAME": "", "PATH_INFO": "/{protocol}-plain/x""#)), "{plain}");
            for upload in [
                (format!("Content-Length: {}\r\n", body.len()), body.clone()),
                (
                    "Transfer-Encoding: chunked\r\n".to_owned(),
                    [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat(),
                ),
            ]
            .into_iter()
            // uwsgi cannot say that a length is not known.
            .take(if buffering || protocol != "uwsgi" { 2 } else { 1 })
            {
                let answer = nginx.request("POST", &format!("/{protocol}/upload"), &upload.0, &upload.1);
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.contains(&format!("{} {digest}", body.len())), "{protocol}: {answer}\n{}", nginx.log());
            }
            let download = nginx.request("GET", &format!("/{protocol}/download"), "", b"");
            assert!(download.len() > 10_000_000 && download.ends_with(b"0\r\n\r\n"), "{protocol}: {} octets", download.len());
            assert!(nginx.get(&format!("/{protocol}/cookies")).starts_with("HTTP/1.1 404 "), "{protocol}");
            assert!(nginx.get(&format!("/{protocol}/raise")).starts_with("HTTP/1.1 500 "), "{protocol}");
            assert!(nginx.get(&format!("/{protocol}/304")).starts_with("HTTP/1.1 304 "), "{protocol}");
            let head = nginx.request("HEAD", &format!("/{protocol}/"), "", b"");
            assert!(head.starts_with(b"HTTP/1.1 200 ") && head.ends_with(b"\r\n\r\n"), "{}", String::from_utf8_lossy(&head));
        }
        let log = nginx.log();
        assert!(!log.contains("[error]") && !log.contains("[crit]"), "{log}");
    }
}

#[test]
fn nginx_passes_streams_on_at_once_and_cancels_what_its_client_leaves() {
    let program = site("plain", "");
    let Some(nginx) = Nginx::start(&program, "nginx", &paths(false)) else { return };
    for (nth, protocol) in PROTOCOLS.into_iter().enumerate() {
        let mut client = connect(&nginx.socket());
        write!(client, "GET /{protocol}/stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut begin = [0; 400];
        client.read_exact(&mut begin).unwrap();
        assert!(String::from_utf8_lossy(&begin).contains("first"), "{protocol}");
        drop(client);
        let since = Instant::now();
        while fs::read_to_string(program.folder().join("closed")).unwrap_or_default().lines().count() <= nth {
            assert!(since.elapsed() < PATIENCE, "{protocol}: {}", nginx.log());
            std::thread::yield_now();
        }
        let broken = nginx.get(&format!("/{protocol}/broken"));
        // Over a Unix socket nothing marks the end of these two.
        if protocol == "fastcgi" {
            assert!(!broken.ends_with("0\r\n\r\n"), "{broken}");
        }
    }
}
