//! A thousand WebSockets at once, through the usual layers, over a reload and to the end of the server.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::black_box::Program;
use super::websockets::{http1, next, talk};

const MANY: usize = 1_000;

/// Of these, so many go into a WSGI app, where each has a thread.
const INTO_WSGI: usize = 40;

const SITE: &str = "
import simple_websocket

def app(environ, start_response):
    ws = simple_websocket.Server(environ, max_message_size=1 << 22)
    try:
        while True:
            ws.send(ws.receive())
    except simple_websocket.ConnectionClosed:
        return []
";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_websockets_live_through_a_reload_and_are_told_when_the_server_ends() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let (upstream, _) = http1().await;
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "server": {{ "drain": "5m" }},
             "layers": [{{ "access_log": {{ "format": "json", "to": "access.log" }} }}, "compress", "security_headers"],
             "app": {{ "routes": [
               {{ "mount": "/live", "app": {{ "proxy": {{ "to": "http://{upstream}", "limit": 2000 }} }} }},
               {{ "mount": "/wsgi", "app": {{ "wsgi": {{ "app": "echo_site:app", "workers": 1, "websockets": {{ "limit": 100, "idle": "10m" }} }} }} }}
             ] }} }}"#
    );
    let mut program = Program::start(&pipeline, &[("echo_site.py", SITE)]);
    let address = program.address();
    let open = |n: usize| async move {
        let path = if n.is_multiple_of(MANY / INTO_WSGI) { "/wsgi/" } else { "/live/" };
        let (mut socket, response) = tokio_tungstenite::connect_async(format!("ws://{address}{path}")).await.unwrap();
        assert!(response.headers().contains_key("x-content-type-options"));
        talk(&mut socket, if n.is_multiple_of(50) { 1 << 20 } else { 1_000 }).await;
        socket
    };
    let mut sockets: Vec<Socket> = stream::iter(0..MANY).map(open).buffer_unordered(50).collect().await;
    // All of them send while the stack is replaced.
    let talking = tokio::spawn(async move {
        join_all(sockets.iter_mut().map(|socket| talk(socket, 1_000))).await;
        sockets
    });
    program.signal("HUP");
    program.wait_for_log("reloaded");
    let mut sockets = talking.await.unwrap();
    join_all(sockets.iter_mut().map(|socket| talk(socket, 100))).await;
    program.signal("TERM");
    let codes = join_all(sockets.iter_mut().map(async |socket| {
        let Message::Close(Some(frame)) = next(socket).await else { panic!() };
        while let Some(Ok(_)) = socket.next().await {}
        u16::from(frame.code)
    }));
    assert_eq!(codes.await, [1001; MANY]);
    drop(sockets);
    let ended = tokio::task::spawn_blocking(move || (program.wait(), program));
    let (status, program) = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap();
    assert!(status.success() && !program.log().contains("cut off"), "{}", program.log());
    let log = std::fs::read_to_string(program.folder().join("access.log")).unwrap();
    let closed = log.lines().filter(|line| line.contains("\"status\":101") && line.contains("\"close_code\":1001")).count();
    assert_eq!(closed, MANY);
}
