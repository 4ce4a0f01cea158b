//! WebSockets of apps: the protocol, limits, failures, and the ends of workers and stacks. Most cases run in a worker and in the server's process.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::site::{get, is_alive, kill, pid, processes_below, wait_until};
use crate::support::{PATIENCE, Program};

const SITE: &str = r#"
import os, socket, time
import simple_websocket

def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/echo':
        ws = simple_websocket.Server(environ, subprotocols=['echo'])
        try:
            while True:
                ws.send(ws.receive())
        except simple_websocket.ConnectionClosed:
            return []
    elif path == '/environ':
        ws, sock = simple_websocket.Server(environ), environ['werkzeug.socket']
        about = [type(sock) is socket.socket, sock is environ['gunicorn.socket'], sock.gettimeout(), sock.family.name, environ['HTTP_CONNECTION'],
                 environ['HTTP_UPGRADE'], 'HTTP_SEC_WEBSOCKET_KEY' in environ, environ['wsgi.multithread'], environ['wsgi.input'].read()]
        ws.send('|'.join(map(str, about)))
        ws.close()
        start_response('200 OK', [])
        return [b'dropped']
    elif path == '/forbidden':
        start_response('403 Forbidden', [])
        return [b'members only']
    elif path == '/raises-before':
        raise ValueError('before the head')
    elif path == '/raises-after':
        simple_websocket.Server(environ).send('accepted')
        raise ValueError('after the head')
    elif path == '/stops':
        simple_websocket.Server(environ).send('accepted')
        raise StopIteration
    elif path == '/forgets':
        environ['kept'] = simple_websocket.Server(environ)
        environ['kept'].send('accepted')
        return []
    elif path == '/silent':
        return []
    elif path == '/broken':
        environ['werkzeug.socket'].sendall(b'HTTP/1.1 200 OK\r\n\r\n')
        return []
    elif path == '/slow':
        time.sleep(1000)
    keys = [key for key in environ if key.endswith('.socket') or key in ('HTTP_CONNECTION', 'HTTP_UPGRADE')]
    body = str(os.getpid()).encode() if path == '/pid' else repr(keys).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
"#;

type Socket = WebSocket<TcpStream>;

/// The site with these options of the server and of its app.
fn start(server: &str, options: &str) -> Program {
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "server": {{ {server} }},
             "layers": ["request_id", {{ "access_log": {{ "format": "json", "to": "access.log" }} }}, "compress", "security_headers"],
             "app": {{ "routes": [{{ "app": {{ "wsgi": {{ "app": "websocket_site:app", {options} }} }} }}] }} }}"#
    );
    Program::start(&pipeline, &[("websocket_site.py", SITE)])
}

/// Runs the test with one thread of a worker, and with one of the server's process.
fn in_both(websockets: usize, test: impl Fn(&mut Program)) {
    for workers in [1, 0] {
        test(&mut start("", &format!(r#""workers": {workers}, "threads": 1, "websockets": {websockets}"#)));
    }
}

/// Opens a WebSocket, or returns the response that refuses it.
pub(crate) fn open(program: &Program, path: &str) -> Result<Socket, Box<Response<Option<Vec<u8>>>>> {
    match client(format!("ws://{}{path}", program.address()), program.connect()) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(Error::Http(response))) => Err(response),
        Err(error) => panic!("{error}\n{}", program.log()),
    }
}

fn opened(program: &Program, path: &str) -> Socket {
    open(program, path).unwrap_or_else(|refused| panic!("{refused:?}\n{}", program.log()))
}

/// The status of the response that refuses a WebSocket, and its body.
fn refused(program: &Program, path: &str) -> (u16, String) {
    let response = open(program, path).map(drop).unwrap_err();
    (response.status().as_u16(), String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned())
}

/// Sends a message and reads the same.
fn echo(socket: &mut Socket, message: &Message) {
    socket.send(message.clone()).unwrap();
    assert!(socket.read().unwrap() == *message);
}

/// The status of the Close frame with which the other side ends the connection.
pub(crate) fn close_code(socket: &mut Socket) -> Option<CloseCode> {
    let mut code = None;
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => code = Some(frame.map_or(CloseCode::Status, |frame| frame.code)),
            Ok(message) => panic!("{message:?}"),
            Err(_) => return code,
        }
    }
}

/// Threads of WebSockets in all processes. Threads that Python starts inherit the name.
fn threads(program: &Program) -> usize {
    let processes = processes_below(program.pid()).into_iter().map(|(pid, _)| pid).chain([program.pid()]);
    let names = processes.flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten());
    names.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "wsgi-websocket")).count()
}

fn wait_for_no_threads(program: &Program) {
    wait_until("all threads of WebSockets have ended", program, || threads(program) == 0);
}

/// The lines of the access log about upgraded connections: octets received and sent.
fn logged(program: &Program) -> Vec<(u64, u64)> {
    let text = fs::read_to_string(program.folder().join("access.log")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).filter(|line| line["status"] == 101);
    lines.map(|line| (line["received"].as_u64().unwrap(), line["bytes"].as_u64().unwrap())).collect()
}

#[test]
fn messages_and_pings_pass_both_ways_and_ordinary_requests_keep_their_threads() {
    in_both(4, |program| {
        let mut sockets: Vec<_> = (0..4).map(|_| opened(program, "/echo")).collect();
        let large = Message::binary((0..1 << 20).map(|n: u32| n as u8).collect::<Vec<_>>());
        for socket in &mut sockets {
            echo(socket, &Message::text("hello"));
            echo(socket, &large);
            socket.send(Message::Ping("still there?".into())).unwrap();
            assert!(socket.read().unwrap() == Message::Pong("still there?".into()));
            assert_eq!(get(program, "/").1, "[]");
        }
        assert!(threads(program) >= 8);
        for mut socket in sockets {
            socket.close(None).unwrap();
            assert_eq!(close_code(&mut socket), Some(CloseCode::Status));
        }
        wait_for_no_threads(program);
        wait_until("the access log has all lines", program, || logged(program).len() == 4);
        for (received, sent) in logged(program) {
            assert!((1 << 20..(1 << 20) + 100).contains(&received) && (1 << 20..(1 << 20) + 100).contains(&sent), "{received} {sent}");
        }
        assert!(!program.log().contains("ERROR"), "{}", program.log());
    });
}

#[test]
fn the_app_gets_a_blocking_socket_and_the_headers_of_the_handshake() {
    in_both(1, |program| {
        let mut socket = opened(program, "/environ");
        let about = "True|True|None|AF_UNIX|Upgrade|websocket|True|True|b''";
        assert!(socket.read().unwrap() == Message::text(about), "{}", program.log());
        assert_eq!(close_code(&mut socket), Some(CloseCode::Normal));
        wait_for_no_threads(program);
        assert!(!program.log().contains("ERROR"), "{}", program.log());
    });
}

#[test]
fn an_app_that_does_not_touch_the_socket_answers_as_usual() {
    in_both(1, |program| {
        assert_eq!(refused(program, "/forbidden"), (403, "members only".to_owned()));
        let other = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\n\r\n";
        assert!(program.exchange(other).ends_with("[]"));
        wait_for_no_threads(program);
    });
}

#[test]
fn an_app_that_fails_before_the_handshake_is_answered_500_and_the_log_says_why() {
    in_both(1, |program| {
        let cases = [
            ("/raises-before", "ValueError: before the head"),
            ("/silent", "the app neither responded nor wrote to its WebSocket"),
            ("/broken", "the app wrote a response with status 200 to its WebSocket; only 101 is passed on"),
        ];
        for (path, cause) in cases {
            assert_eq!(refused(program, path).0, 500);
            program.wait_for_log(cause);
            // The next one is accepted when the thread has ended.
            wait_for_no_threads(program);
        }
        assert!(!program.log().contains("start_response"), "{}", program.log());
    });
}

#[test]
fn an_app_that_ends_without_a_close_frame_has_one_sent() {
    in_both(3, |program| {
        for path in ["/raises-after", "/stops", "/forgets"] {
            let mut socket = opened(program, path);
            assert!(socket.read().unwrap() == Message::text("accepted"));
            assert_eq!(close_code(&mut socket), Some(CloseCode::Away), "{path}\n{}", program.log());
        }
        wait_for_no_threads(program);
        let errors: Vec<_> = program.log().lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect();
        assert!(errors.len() == 1 && program.log().contains("ValueError: after the head"), "{}", program.log());
    });
}

#[test]
fn a_client_that_leaves_ends_the_app() {
    in_both(1, |program| {
        drop(opened(program, "/echo"));
        wait_for_no_threads(program);
        // In the middle of a handshake the app only sees it when it uses the socket.
        wait_until("there is room for another one", program, || match open(program, "/echo") {
            Ok(mut socket) => {
                echo(&mut socket, &Message::text("hello"));
                true
            }
            Err(response) => {
                assert_eq!(response.status(), 503);
                false
            }
        });
    });
}

#[test]
fn further_websockets_than_the_limit_are_refused() {
    in_both(2, |program| {
        let mut open = [opened(program, "/echo"), opened(program, "/echo")];
        assert_eq!(refused(program, "/echo").0, 503);
        program.wait_for_log("as many WebSockets are open as the app's option `websockets` allows");
        open[0].close(None).unwrap();
        close_code(&mut open[0]);
        wait_until("there is room for another one", program, || threads(program) == 2);
        echo(&mut open[1], &Message::text("hello"));
        echo(&mut opened(program, "/echo"), &Message::text("hello"));
    });
}

#[test]
fn without_the_option_every_websocket_is_refused_and_the_log_names_it() {
    in_both(0, |program| {
        assert_eq!(refused(program, "/echo").0, 501);
        let line = program.wait_for_log("the app's option `websockets` is 0");
        assert!(line.contains("request_id"), "{line}");
        assert_eq!(get(program, "/").0, 200);
    });
}

#[test]
fn a_deadline_bounds_the_handshake_and_not_the_websocket() {
    for workers in [1, 0] {
        let program = start("", &format!(r#""workers": {workers}, "websockets": 2, "deadline": "300ms", "slow": "100ms""#));
        let mut socket = opened(&program, "/echo");
        assert_eq!(refused(&program, "/slow").0, 504);
        let until = Instant::now() + Duration::from_millis(700);
        while Instant::now() < until {
            echo(&mut socket, &Message::text("still here"));
        }
        assert!(!program.log().contains("over its deadline"), "{}", program.log());
    }
}

#[test]
fn websockets_outlive_a_reload_until_the_end_of_the_drain() {
    for workers in [1, 0] {
        let mut program = start(r#""drain": "1s""#, &format!(r#""workers": {workers}, "websockets": 2"#));
        let mut socket = opened(&program, "/echo");
        program.signal("HUP");
        program.wait_for_log("reloaded");
        echo(&mut socket, &Message::text("still here"));
        let mut newer = opened(&program, "/echo");
        assert_eq!(close_code(&mut socket), Some(CloseCode::Away), "{}", program.log());
        echo(&mut newer, &Message::text("hello"));
        wait_until("the old ones have ended", &program, || threads(&program) == 2);
    }
}

#[test]
fn at_the_end_of_the_server_clients_are_told_and_nothing_is_left() {
    for workers in [2, 0] {
        let mut program = start(r#""drain": "300ms""#, &format!(r#""workers": {workers}, "websockets": 50"#));
        let mut sockets: Vec<_> = (0..50).map(|_| opened(&program, "/echo")).collect();
        let processes = processes_below(program.pid());
        program.signal("TERM");
        let begin = Instant::now();
        for socket in &mut sockets {
            assert_eq!(close_code(socket), Some(CloseCode::Away), "{}", program.log());
        }
        assert!(program.wait().success(), "{}", program.log());
        assert!(begin.elapsed() < PATIENCE / 3, "{:?}\n{}", begin.elapsed(), program.log());
        assert!(!processes.iter().any(|(pid, _)| is_alive(*pid)));
        assert_eq!(logged(&program).len(), 50);
        assert!(!program.log().contains("killed") && !program.log().contains("left behind"), "{}", program.log());
    }
}

#[test]
fn the_end_of_a_worker_ends_its_websockets_and_no_others() {
    let program = start("", r#""workers": 2, "websockets": 8"#);
    let mut sockets: Vec<_> = (0..4).map(|_| opened(&program, "/echo")).collect();
    let victim = pid(&program);
    kill("KILL", victim);
    wait_until("another worker is there", &program, || !is_alive(victim) && processes_below(program.pid()).len() == 2);
    let ended: Vec<_> = sockets
        .iter_mut()
        .filter_map(|socket| {
            // The write to a connection that is about to close may succeed.
            let _ = socket.send(Message::text("hello"));
            match socket.read() {
                Ok(Message::Text(_)) => None,
                Ok(Message::Close(frame)) => Some(frame.unwrap().code),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert_eq!(ended, [CloseCode::Away, CloseCode::Away]);
    echo(&mut opened(&program, "/echo"), &Message::text("hello"));
}

#[test]
fn a_worker_that_is_recycled_waits_for_its_websockets_until_the_end_of_the_drain() {
    let mut program = start(r#""drain": "1s""#, r#""workers": 1, "websockets": 4, "recycle": { "requests": 3, "jitter": 0 }"#);
    let mut socket = opened(&program, "/echo");
    let old = pid(&program);
    wait_until("another worker serves", &program, || pid(&program) != old);
    program.wait_for_log("the worker is replaced (recycle: requests)");
    echo(&mut socket, &Message::text("still here"));
    assert!(is_alive(old));
    assert_eq!(close_code(&mut socket), Some(CloseCode::Away), "{}", program.log());
    wait_until("the old worker has ended", &program, || !is_alive(old));
}

#[test]
fn forked_workers_and_python_layers_take_websockets() {
    let layer = "class Layer:\n    def __init__(self, app):\n        self.app = app\n    def __call__(self, environ, start_response):\n        \
                 return self.app(environ, start_response)\n";
    let app = r#"{ "wsgi": { "app": "websocket_site:app", "workers": 1, "preload": true, "websockets": 2 } }"#;
    for layers in ["", r#"{ "wsgi": "layer:Layer" }"#, r#"{ "wsgi": "layer:Layer" }, "security_headers""#] {
        let pipeline = format!(r#"{{ "listen": "127.0.0.1:0", "layers": [{layers}], "app": {app} }}"#);
        let program = Program::start(&pipeline, &[("websocket_site.py", SITE), ("layer.py", layer)]);
        let mut socket = opened(&program, "/echo");
        echo(&mut socket, &Message::text("hello"));
        let mut about = opened(&program, "/environ");
        assert!(about.read().unwrap().into_text().unwrap().contains("Upgrade|websocket|True"), "{layers}");
    }
}
