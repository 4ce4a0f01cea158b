//! A server whose stack is a proxy, upstreams that speak octets, and clients that do.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::service_fn;
use ziggurat::Ziggurat;
use ziggurat::server::{self, Listener, Options};
use ziggurat_middleware::{Next, TestStack};

use super::log::Log;

/// Nothing a test waits for may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server on a loopback port.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) stack: TestStack,
    /// What is said outside of the requests' own futures: about bodies and tunnels.
    log: Log,
    /// It runs as long as this is there.
    _running: server::Server,
}

impl Proxy {
    /// Serves a proxy with these options.
    pub(crate) fn start(options: &str) -> Self {
        Self::pipeline(&format!(r#"{{ "app": {{ "proxy": {options} }} }}"#))
    }

    /// Serves a pipeline.
    pub(crate) fn pipeline(text: &str) -> Self {
        let log = Log::start();
        let stack = Ziggurat::new().test().pipeline(text);
        let listeners = Listener::bind(&"127.0.0.1:0".parse().unwrap(), Path::new("/")).unwrap();
        let address = listeners[0].socket_addr().unwrap();
        let served = stack.clone();
        let app = service_fn(move |request| {
            let stack = served.clone();
            async move { Ok::<_, std::convert::Infallible>(stack.call(request).await) }
        });
        let running = server::Server::start(listeners, Next::new("proxy", app), &Options::default()).unwrap();
        Self { address, stack, log, _running: running }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends these octets on a connection of their own, and reads until the server closes it.
    pub(crate) async fn exchange(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect().await;
        client.send(request).await;
        Answer::read(&client.read_to_end().await)
    }

    /// GET on a connection of its own.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.exchange(format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")).await
    }

    /// The lines of the log that hold this text.
    pub(crate) fn logged(&self, text: &str) -> Vec<String> {
        self.stack.log().into_iter().chain(self.log.lines()).filter(|line| line.contains(text)).collect()
    }
}

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// It does not end where it should.
    pub(crate) is_cut: bool,
}

impl Answer {
    pub(crate) fn read(octets: &[u8]) -> Self {
        let text = String::from_utf8_lossy(octets).into_owned();
        let Some((head, rest)) = text.split_once("\r\n\r\n") else {
            return Self { status: 0, head: text, body: String::new(), is_cut: true };
        };
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        let header = |name: &str| head.lines().find_map(|line| line.to_lowercase().strip_prefix(name).map(|value| value.trim().to_owned()));
        let (body, is_cut) = if header("transfer-encoding:").is_some() {
            dechunk(rest)
        } else if let Some(length) = header("content-length:").and_then(|length| length.parse::<usize>().ok()) {
            (rest.to_owned(), rest.len() != length && status != 304)
        } else {
            (rest.to_owned(), false)
        };
        Self { status, head: head.to_owned(), body, is_cut }
    }

    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        let matching = self.head.lines().skip(1).filter_map(|line| line.split_once(':')).filter(|(key, _)| key.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| value.trim().to_owned()).collect()
    }
}

/// The octets of a chunked body, and whether it lacks its end.
fn dechunk(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    loop {
        let Some((size, after)) = rest.split_once("\r\n") else { return (body, true) };
        let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap(), 16) else { return (body, true) };
        if size == 0 {
            return (body, !after.ends_with("\r\n"));
        }
        let Some(data) = after.get(..size) else { return (body + after, true) };
        body.push_str(data);
        rest = after[size..].strip_prefix("\r\n").unwrap_or("");
    }
}

/// A connection that speaks octets.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn send(&mut self, octets: impl AsRef<[u8]>) {
        // One that closes early is no error here; the answer tells.
        let _ = self.0.write_all(octets.as_ref()).await;
    }

    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        let end = timeout(PATIENCE, self.0.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "the server does not close after {:?}", String::from_utf8_lossy(&answer));
        answer
    }

    /// Reads until what came ends with `end`.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            match timeout(PATIENCE, self.0.read_u8()).await {
                Ok(Ok(octet)) => answer.push(octet),
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&answer)),
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A listening socket whose connections a closure serves.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Received>>>,
    task: tokio::task::JoinHandle<()>,
}

/// A request that reached an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The number of its connection.
    pub(crate) connection: usize,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        let matching = self.head.lines().skip(1).filter_map(|line| line.split_once(':')).filter(|(key, _)| key.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| value.trim().to_owned()).collect()
    }

    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Serves each connection with this.
    pub(crate) async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(Connection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), serve)
    }

    pub(crate) fn start_on<F, Fut>(listener: TcpListener, serve: F) -> Self
    where
        F: Fn(Connection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let count = AtomicUsize::new(0);
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                let number = count.fetch_add(1, SeqCst);
                tokio::spawn(serve(Connection { socket, number, held: Vec::new(), record: Arc::clone(&record) }));
            }
        });
        Self { address, requests, task }
    }

    /// Answers each request with these octets and keeps the connection.
    pub(crate) async fn answering(octets: impl Into<Vec<u8>>) -> Self {
        let octets: Arc<[u8]> = octets.into().into();
        Self::start(move |mut connection| {
            let octets = Arc::clone(&octets);
            async move {
                while connection.request().await.is_some() {
                    connection.send(&octets).await;
                }
            }
        })
        .await
    }

    /// Answers each request with this text.
    pub(crate) async fn saying(text: &str) -> Self {
        Self::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.requests.lock().unwrap().clone()
    }
}

/// A connection from the proxy.
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    pub(crate) number: usize,
    held: Vec<u8>,
    record: Arc<Mutex<Vec<Received>>>,
}

impl Connection {
    /// The next head, as far as it came; `None` at the end.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.held.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.held.split_off(end + 4);
                let head = std::mem::replace(&mut self.held, rest);
                return Some(String::from_utf8(head).unwrap());
            }
            self.more().await?;
        }
    }

    /// So many octets.
    pub(crate) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.held.len() < length {
            self.more().await.unwrap();
        }
        self.held.drain(..length).collect()
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.socket.read_buf(&mut self.held).await.ok()?;
        (read > 0).then_some(())
    }

    /// The next request with its body, which is noted.
    pub(crate) async fn request(&mut self) -> Option<Received> {
        let head = self.head().await?;
        let mut received = Received { connection: self.number, head, body: Vec::new() };
        if let Some(length) = received.header("content-length").first() {
            let length: usize = length.parse().unwrap();
            while self.held.len() < length {
                self.more().await?;
            }
            received.body = self.held.drain(..length).collect();
        } else if !received.header("transfer-encoding").is_empty() {
            let is_last = |held: &[u8]| held.windows(3).any(|end| end == b"0\r\n") && held.ends_with(b"\r\n\r\n");
            while !is_last(&self.held) {
                self.more().await?;
            }
            received.body = std::mem::take(&mut self.held);
        }
        self.record.lock().unwrap().push(received.clone());
        Some(received)
    }

    pub(crate) async fn send(&mut self, octets: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(octets.as_ref()).await;
    }

    /// Ends it with a reset instead of an orderly close.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
