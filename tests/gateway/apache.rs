//! Apache before the program by mod_proxy_uwsgi, mod_proxy_scgi and mod_proxy_fcgi, where it is installed.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::listen::{PROTOCOLS, site};
use crate::support::{PATIENCE, Program};

const MODULES: &str = "/usr/lib/apache2/modules";

/// A running Apache. `/uwsgi/...` goes to the program by uwsgi, and so on.
struct Apache {
    child: Child,
    address: SocketAddr,
}

impl Apache {
    /// `None` if it is not installed.
    fn start(program: &Program) -> Option<Self> {
        let modules = ["mpm_event", "authz_core", "proxy", "proxy_fcgi", "proxy_scgi", "proxy_uwsgi"];
        if modules.iter().any(|name| !Path::new(MODULES).join(format!("mod_{name}.so")).exists()) {
            return None;
        }
        // The children of a root's Apache are another user.
        fs::set_permissions(program.folder(), fs::Permissions::from_mode(0o755)).unwrap();
        for protocol in PROTOCOLS {
            fs::set_permissions(program.folder().join(format!("{protocol}.sock")), fs::Permissions::from_mode(0o666)).unwrap();
        }
        // Apache cannot choose a port by itself. Another process may take this one first.
        (0..10).find_map(|_| Self::try_start(program, &modules)).or_else(|| panic!("Apache does not start"))
    }

    fn try_start(program: &Program, modules: &[&str]) -> Option<Self> {
        let folder = program.folder().display();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let load: String = modules.iter().map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n")).collect();
        let configuration = format!(
            "ServerRoot {folder}\nPidFile {folder}/httpd.pid\nListen {address}\nServerName site.test\nErrorLog {folder}/httpd.log\nMutex sem\n{load}
             User www-data\nGroup www-data
             ProxyPass /uwsgi/ unix:{folder}/uwsgi.sock|uwsgi://localhost/
             ProxyPass /scgi/ unix:{folder}/scgi.sock|scgi://localhost/
             ProxyPass /fastcgi/ unix:{folder}/fastcgi.sock|fcgi://localhost/ enablereuse=on
             <Location /fastcgi/>
             ProxyFCGISetEnvIf \"reqenv('SCRIPT_NAME') =~ m#^/fastcgi(/.*)$#\" PATH_INFO $1
             ProxyFCGISetEnvIf true SCRIPT_NAME /fastcgi
             </Location>\n"
        );
        fs::write(program.folder().join("httpd.conf"), configuration).unwrap();
        let mut command = Command::new("/usr/sbin/apache2");
        command.arg("-d").arg(program.folder()).args(["-f", "httpd.conf", "-DFOREGROUND"]).stdin(Stdio::null());
        let mut apache = Self { child: command.spawn().unwrap(), address };
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if TcpStream::connect(address).is_ok() {
                return Some(apache);
            }
            if apache.child.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::yield_now();
        }
        None
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: {length}\r\nX-Foo: 1\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        // Its children end with it, if it ends in order.
        let _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

#[test]
fn apache_passes_requests_bodies_and_errors_in_each_protocol() {
    let program = site("app", "");
    let Some(apache) = Apache::start(&program) else { return };
    let body: Vec<u8> = (0..10_000_000_u32).map(|n| (n % 251) as u8).collect();
    let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
    for protocol in PROTOCOLS {
        let split = if protocol == "scgi" { [String::new(), "/scgi/a b".to_owned()] } else { [format!("/{protocol}"), "/a b".to_owned()] };
        let answer = text(apache.request("GET", &format!("/{protocol}/a%20b?x=%20"), b""));
        for part in [
            r#""REQUEST_METHOD": "GET""#,
            &format!(r#""SCRIPT_NAME": "{}", "PATH_INFO": "{}""#, split[0], split[1]),
            r#""QUERY_STRING": "x=%20""#,
            r#""REMOTE_ADDR": "127.0.0.1""#,
            r#""HTTP_HOST": "site.test""#,
            r#""HTTP_X_FOO": "1""#,
        ] {
            assert!(answer.contains(part), "{protocol} {part}: {answer}");
        }
        let upload = text(apache.request("POST", &format!("/{protocol}/upload"), &body));
        assert!(upload.starts_with("HTTP/1.1 200 ") && upload.contains("10000000 "), "{protocol}: {upload}");
        let download = apache.request("GET", &format!("/{protocol}/download"), b"");
        assert!(download.len() > 10_000_000 && download.ends_with(b"0\r\n\r\n"), "{protocol}: {} octets", download.len());
        for (method, path, status) in [("GET", "cookies", 404), ("GET", "raise", 500), ("GET", "304", 304), ("HEAD", "", 200)] {
            let answer = text(apache.request(method, &format!("/{protocol}/{path}"), b""));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{protocol} {path}: {answer}");
        }
    }
    let broken = apache.request("GET", "/fastcgi/broken", b"");
    assert!(!broken.ends_with(b"0\r\n\r\n"), "{}", text(broken));
}
