//! Libraries of the WSGI world that take the connection's socket: flask-sock and Flask-SocketIO in its `threading` mode.

use std::net::TcpStream;

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use crate::site::{get, wait_until};
use crate::support::Program;
use crate::websockets::{close_code, open};

const SITE: &str = r#"
from flask import Flask, request
from flask_sock import Sock
from flask_socketio import SocketIO

flask = Flask(__name__)
sock = Sock(flask)
socketio = SocketIO(flask, async_mode='threading')

@flask.route('/')
def index():
    return 'index'

@sock.route('/echo')
def echo(ws):
    while True:
        ws.send(ws.receive())

@sock.route('/once')
def once(ws):
    ws.send(ws.receive())

@socketio.on('shout')
def shout(text):
    socketio.emit('heard', text.upper(), to=request.sid)

def app(environ, start_response):
    return flask(environ, start_response)

def as_under_gunicorn(environ, start_response):
    environ.pop('werkzeug.socket', None)
    return flask(environ, start_response)
"#;

/// Runs the test in a worker and in the server's process, with the keys of both servers that the libraries know.
fn everywhere(test: impl Fn(&mut Program)) {
    for (workers, app) in [(1, "app"), (1, "as_under_gunicorn"), (0, "app"), (0, "as_under_gunicorn")] {
        let options = format!(r#"{{ "app": "library_site:{app}", "workers": {workers}, "threads": 2, "websockets": 8 }}"#);
        let mut program =
            Program::start(&format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "wsgi": {options} }} }}"#), &[("library_site.py", SITE)]);
        test(&mut program);
        let log = program.log();
        assert!(!log.contains("ERROR") && !log.contains("Traceback"), "{workers} {app}\n{log}");
    }
}

fn read(socket: &mut WebSocket<TcpStream>) -> String {
    socket.read().unwrap().into_text().unwrap().to_string()
}

/// Connects to Socket.IO's default namespace, and has a text shouted.
fn shout(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(Message::text(format!(r#"42["shout","{text}"]"#))).unwrap();
    let mut packet = read(socket);
    // A move from polling ends with a packet that means nothing.
    if packet == "6" {
        packet = read(socket);
    }
    assert_eq!(packet, format!(r#"42["heard","{}"]"#, text.to_uppercase()));
}

#[test]
fn flask_sock_echoes_and_closes() {
    everywhere(|program| {
        let mut socket = open(program, "/echo").unwrap();
        for text in ["one", "two"] {
            socket.send(Message::text(text)).unwrap();
            assert_eq!(read(&mut socket), text);
        }
        let mut once = open(program, "/once").unwrap();
        once.send(Message::text("once")).unwrap();
        assert_eq!(read(&mut once), "once");
        assert_eq!(close_code(&mut once), Some(CloseCode::Normal));
        socket.close(None).unwrap();
        close_code(&mut socket);
        assert_eq!(open(program, "/nowhere").unwrap_err().status(), 404);
        assert_eq!(get(program, "/").1, "index");
    });
}

#[test]
fn socket_io_connects_by_a_websocket_alone() {
    everywhere(|program| {
        let mut socket = open(program, "/socket.io/?EIO=4&transport=websocket").unwrap();
        assert!(read(&mut socket).starts_with("0{"));
        socket.send(Message::text("40")).unwrap();
        assert!(read(&mut socket).starts_with("40{"));
        shout(&mut socket, "hello");
        socket.close(None).unwrap();
        close_code(&mut socket);
    });
}

#[test]
fn socket_io_moves_from_polling_to_a_websocket() {
    everywhere(|program| {
        let polled = get(program, "/socket.io/?EIO=4&transport=polling").1;
        let sid = polled.split("\"sid\":\"").nth(1).unwrap_or_else(|| panic!("{polled}")).split('"').next().unwrap().to_owned();
        let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let posted = program.exchange(format!("POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 2\r\n\r\n40"));
        assert!(posted.starts_with("HTTP/1.1 200"), "{posted}");
        assert!(get(program, &path).1.contains("40{"));
        let mut socket = open(program, &path.replace("polling", "websocket")).unwrap();
        socket.send(Message::text("2probe")).unwrap();
        assert_eq!(read(&mut socket), "3probe");
        socket.send(Message::text("5")).unwrap();
        shout(&mut socket, "hello");
        socket.close(None).unwrap();
        close_code(&mut socket);
        wait_until("the app still answers", program, || get(program, "/").0 == 200);
    });
}
