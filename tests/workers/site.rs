//! A site whose workers can be told to do anything, and a look at the processes that serve it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Instant;

use crate::support::{PATIENCE, Program};

/// An app: `/pid` tells which process serves, the other paths are what goes wrong.
pub(crate) const SITE: &str = r#"
import ctypes, os, tempfile, time
IMPORTED_BY = os.getpid()
HELD = []

def endless():
    while True:
        yield b'more'
        time.sleep(0.05)

def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/exit':
        os._exit(3)
    elif path == '/crash':
        ctypes.string_at(0)
    elif path == '/wait':
        open('started', 'a').close()
        while not os.path.exists('go'):
            time.sleep(0.01)
    elif path == '/stuck':
        # No exception is seen before it returns.
        time.sleep(1000)
    elif path == '/hold':
        ctypes.PyDLL(None).sleep(1000)
    elif path == '/endless':
        start_response('200 OK', [])
        return endless()
    elif path == '/large':
        start_response('200 OK', [])
        return (b'x' * 65536 for _ in range(1024))
    elif path == '/upload':
        while not os.path.exists('go'):
            time.sleep(0.01)
        read = iter(lambda: len(environ['wsgi.input'].read(65536)), 0)
        body = str(sum(read)).encode()
        start_response('200 OK', [('Content-Length', str(len(body)))])
        return [body]
    elif path == '/length':
        read = sum(iter(lambda: len(environ['wsgi.input'].read(65536)), 0))
        body = ('%d %s' % (read, environ.get('CONTENT_LENGTH'))).encode()
        start_response('200 OK', [('Content-Length', str(len(body)))])
        return [body]
    elif path in ('/generated', '/list', '/file'):
        # Blocks of 64 KiB, each full of its number.
        blocks = (b'%08d' % nth * 8192 for nth in range(int(environ['QUERY_STRING'])))
        start_response('200 OK', [])
        if path == '/file':
            file = tempfile.TemporaryFile()
            file.writelines(blocks)
            file.seek(0)
            return environ['wsgi.file_wrapper'](file)
        return list(blocks) if path == '/list' else blocks
    elif path == '/grow':
        HELD.append(b'x' * (256 << 20))
    elif path == '/about':
        about = [IMPORTED_BY, environ['wsgi.multiprocess'], environ['wsgi.multithread'], os.getcwd(), os.environ.get('COLOUR')]
        body = '|'.join(map(str, about)).encode()
        start_response('200 OK', [('Content-Length', str(len(body)))])
        return [body]
    body = str(os.getpid()).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
"#;

/// The site with these further options of its app.
pub(crate) fn start(options: &str) -> Program {
    let pipeline = format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "wsgi": {{ "app": "site_under_test:app", {options} }} }} }}"#);
    Program::start(&pipeline, &[("site_under_test.py", SITE)])
}

/// The site with these further options of its app, and threads in reserve for `/pid`.
pub(crate) fn start_with_reserve(threads: usize, options: &str) -> Program {
    let routes =
        format!(r#"{{ "routes": [{{ "match": {{ "path": "/pid" }}, "reserve": {threads}, "app": "site" }}, {{ "app": "site" }}] }}"#);
    let apps = format!(r#"{{ "site": {{ "wsgi": {{ "app": "site_under_test:app", {options} }} }} }}"#);
    let pipeline = format!(r#"{{ "listen": "127.0.0.1:0", "app": {routes}, "apps": {apps} }}"#);
    Program::start(&pipeline, &[("site_under_test.py", SITE)])
}

/// The status and the body of an answer.
pub(crate) fn get(program: &Program, path: &str) -> (u16, String) {
    ask(program.address(), path)
}

/// The same for a client in a thread of its own.
pub(crate) fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    // A reset after the answer is an end like any other.
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

/// The process that serves the next request.
pub(crate) fn pid(program: &Program) -> u32 {
    let (status, body) = get(program, "/pid");
    assert_eq!(status, 200, "{body}\n{}", program.log());
    body.parse().unwrap()
}

/// Waits for a condition that another process brings about.
pub(crate) fn wait_until(what: &str, program: &Program, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain: {what}\n{}", program.log());
        std::thread::yield_now();
    }
}

pub(crate) fn kill(signal: &str, pid: u32) {
    assert!(std::process::Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap().success());
}

/// The processes below this one, with their command lines.
pub(crate) fn processes_below(pid: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if parent(child) == Some(pid) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((child, String::from_utf8_lossy(&line).replace('\0', " ")));
            found.extend(processes_below(child));
        }
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Whether there is such a process, that is not only waiting to be waited for.
pub(crate) fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("State:").is_some_and(|state| !state.trim().starts_with(['Z', 'X'])))
}
