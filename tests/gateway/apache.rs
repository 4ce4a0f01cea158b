//! Apache before the program by mod_proxy_uwsgi, mod_proxy_scgi and mod_proxy_fcgi, where it is installed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::listen::{PROTOCOLS, site};
use crate::support::PATIENCE;

const MODULES: &str = "/usr/lib/apache2/modules";

/// A running Apache.
pub struct Apache {
    child: Child,
    pub address: SocketAddr,
}

const PROXY: [&str; 4] = ["proxy", "proxy_fcgi", "proxy_scgi", "proxy_uwsgi"];

/// `/uwsgi/...` goes to the program in this folder by uwsgi, and so on.
fn paths(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "ProxyPass /uwsgi/ unix:{folder}/uwsgi.sock|uwsgi://localhost/
         ProxyPass /scgi/ unix:{folder}/scgi.sock|scgi://localhost/
         ProxyPass /fastcgi/ unix:{folder}/fastcgi.sock|fcgi://localhost/ enablereuse=on
         <Location /fastcgi/>
         ProxyFCGISetEnvIf \"reqenv('SCRIPT_NAME') =~ m#^/fastcgi(/.*)$#\" PATH_INFO $1
         ProxyFCGISetEnvIf true SCRIPT_NAME /fastcgi
         </Location>"
    )
}

/// A host per protocol, whose name it has.
pub fn hosts(folder: &Path) -> String {
    let host = |protocol: &str| {
        let (scheme, folder) = (if protocol == "fastcgi" { "fcgi" } else { protocol }, folder.display());
        format!(
            "<VirtualHost *>\nServerName {protocol}\nProxyPass / unix:{folder}/{protocol}.sock|{scheme}://localhost/ enablereuse=on
             {}</VirtualHost>\n",
            if protocol == "fastcgi" {
                "ProxyFCGISetEnvIf true PATH_INFO \"%{reqenv:SCRIPT_NAME}\"\nProxyFCGISetEnvIf true SCRIPT_NAME \"\"\n"
            } else {
                ""
            }
        )
    };
    PROTOCOLS.map(host).concat()
}

impl Apache {
    /// Apache before the program in this folder, with these sites. `None` if it is not installed.
    pub fn before(folder: &Path, sites: &str) -> Option<Self> {
        for protocol in PROTOCOLS {
            fs::set_permissions(folder.join(format!("{protocol}.sock")), fs::Permissions::from_mode(0o666)).unwrap();
        }
        Self::start(folder, &PROXY, sites)
    }

    /// Starts it with these modules and sites. `None` if one is not installed.
    pub fn start(folder: &Path, modules: &[&str], sites: &str) -> Option<Self> {
        let modules = [&["mpm_event", "authz_core"], modules].concat();
        if modules.iter().any(|name| !Path::new(MODULES).join(format!("mod_{name}.so")).exists()) {
            return None;
        }
        // The children of a root's Apache are another user.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        // Apache cannot choose a port by itself. Another process may take this one first.
        (0..10).find_map(|_| Self::try_start(folder, &modules, sites)).or_else(|| panic!("Apache does not start"))
    }

    fn try_start(at: &Path, modules: &[&str], sites: &str) -> Option<Self> {
        let folder = at.display();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let load: String = modules.iter().map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n")).collect();
        let configuration = format!(
            "ServerRoot {folder}\nPidFile {folder}/httpd.pid\nListen {address}\nServerName site.test\nErrorLog {folder}/httpd.log\nMutex sem\n{load}
             User www-data\nGroup www-data
             {sites}\n"
        );
        fs::write(at.join("httpd.conf"), configuration).unwrap();
        let mut command = Command::new("/usr/sbin/apache2");
        command.arg("-d").arg(at).args(["-f", "httpd.conf", "-DFOREGROUND"]).stdin(Stdio::null());
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

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
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
    let Some(apache) = Apache::before(program.folder(), &paths(program.folder())) else { return };
    for protocol in PROTOCOLS {
        passes_requests_bodies_and_errors(&apache, protocol);
    }
    let broken = apache.request("GET", "/fastcgi/broken", b"");
    assert!(!broken.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&broken));
}

/// Asks the site of `site.py` below the path of this name.
pub fn passes_requests_bodies_and_errors(apache: &Apache, protocol: &str) {
    let body: Vec<u8> = (0..10_000_000_u32).map(|n| (n % 251) as u8).collect();
    let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
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
