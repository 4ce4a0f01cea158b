//! WebSockets of apps over HTTP/2 (RFC 8441), and how long they may be silent.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::h2_websocket::Connection;
use crate::support::{PATIENCE, Program};
use crate::websockets::{close_code, open};

const SITE: &str = r#"
import simple_websocket

def app(environ, start_response):
    if environ['PATH_INFO'] == '/forbidden':
        start_response('403 Forbidden', [])
        return [b'members only']
    if environ['PATH_INFO'] == '/page':
        start_response('200 OK', [])
        return [b'a page']
    if environ['PATH_INFO'] == '/wrong':
        environ['werkzeug.socket'].sendall(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n')
        return []
    ws = simple_websocket.Server(environ, subprotocols=['chat'], max_message_size=1 << 22)
    keys = ['REQUEST_METHOD', 'SERVER_PROTOCOL', 'HTTP_CONNECTION', 'HTTP_UPGRADE', 'HTTP_SEC_WEBSOCKET_VERSION', 'HTTP_HOST', 'QUERY_STRING']
    ws.send('|'.join(environ[key] for key in keys) + '|' + str(len(environ['HTTP_SEC_WEBSOCKET_KEY'])))
    try:
        while True:
            ws.send(ws.receive())
    except simple_websocket.ConnectionClosed:
        return []
"#;

fn start(server: &str, options: &str) -> Program {
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "server": {{ {server} }},
             "layers": [{{ "access_log": {{ "format": "json", "to": "access.log" }} }}, "compress", "security_headers"],
             "app": {{ "routes": [{{ "app": {{ "wsgi": {{ "app": "echo_site:app", {options} }} }} }}] }} }}"#
    );
    Program::start(&pipeline, &[("echo_site.py", SITE)])
}

#[tokio::test]
async fn an_app_takes_a_websocket_over_http2_as_one_over_http1() {
    for workers in [1, 0] {
        let mut program = start("", &format!(r#""workers": {workers}, "websockets": 4"#));
        let client = Connection::open(program.address()).await;
        let (response, mut socket) = client.websocket("/echo?a=b").await.unwrap();
        assert!(response.headers().contains_key("x-content-type-options") && !response.headers().contains_key("sec-websocket-accept"));
        let greeting = socket.next().await.unwrap().unwrap();
        assert_eq!(greeting, Message::text("GET|HTTP/2.0|Upgrade|websocket|13|test|a=b|24"));
        for message in [Message::text("hello"), Message::binary(vec![7; 1 << 20])] {
            socket.send(message.clone()).await.unwrap();
            assert!(timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap() == message);
        }
        for (path, status) in [("/forbidden", 403), ("/page", 501), ("/wrong", 500)] {
            assert_eq!(client.websocket(path).await.unwrap_err().status(), status, "{path}\n{}", program.log());
        }
        program.signal("TERM");
        let Message::Close(Some(frame)) = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap() else { panic!() };
        assert_eq!(frame.code, CloseCode::Away);
        while let Some(Ok(_)) = socket.next().await {}
        drop((socket, client));
        assert!(program.wait().success(), "{}", program.log());
        let log = std::fs::read_to_string(program.folder().join("access.log")).unwrap();
        assert!(
            log.lines().any(|line| line.contains("\"protocol\":\"HTTP/2.0\",\"status\":101") && line.contains("\"close_code\":1001")),
            "{log}"
        );
    }
}

#[test]
fn the_idle_time_of_websockets_is_their_own() {
    let program = start("", r#""workers": 1, "websockets": { "limit": 2, "idle": "300ms" }"#);
    let mut socket = open(&program, "/echo").unwrap();
    assert!(socket.read().unwrap().is_text());
    assert_eq!(close_code(&mut socket), Some(CloseCode::Away), "{}", program.log());
    let program = start(r#""keep_alive": "200ms""#, r#""workers": 1, "websockets": { "limit": 2, "idle": "10m" }"#);
    let mut socket = open(&program, "/echo").unwrap();
    assert!(socket.read().unwrap().is_text());
    let begin = Instant::now();
    // The server closes this connection when its time has passed.
    assert!(program.exchange("GET /forbidden HTTP/1.1\r\nHost: test\r\n\r\n").ends_with("members only"));
    assert!(begin.elapsed() >= Duration::from_millis(200));
    for _ in 0..2 {
        socket.send(Message::text("still here")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("still here"));
    }
}

/// `Thread.start` comes back to Python while the interpreter is torn down: a thread that waits for it then is ended by Python in the midst of a function.
#[test]
fn the_interpreter_outlives_the_threads_that_start_websockets() {
    const SITE: &str = r#"
import sys, threading

torn_down, start = threading.Event(), threading.Thread.start

def start_late(thread):
    start(thread)
    if thread.name == 'wsgi-websocket':
        torn_down.wait(5)

threading.Thread.start = start_late

class Kept:
    def __init__(self):
        self.torn_down, self.pause = torn_down, threading.Event()

    def __del__(self):
        self.torn_down.set()
        self.pause.wait(1)

sys.kept = Kept()

def app(environ, start_response):
    start_response('403 Forbidden', [])
    return [b'members only']
"#;
    let pipeline = r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "late_site:app", "workers": 0, "websockets": 4 } } }"#;
    let mut program = Program::start(pipeline, &[("late_site.py", SITE)]);
    assert!(open(&program, "/").is_err());
    program.signal("TERM");
    assert!(program.wait().success(), "{}", program.log());
    assert!(!program.log().contains("Fatal Python error"), "{}", program.log());
}
