//! A server in this process, and clients that send octets.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use ziggurat::server::{self, Drained, Listener, Options, Retiring, Traffic};
use ziggurat_middleware::{Body, Next, Request, Response};

/// The time limit of everything a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server on a loopback port.
pub struct Server {
    pub address: SocketAddr,
    pub running: Option<server::Server>,
    drain: Option<JoinHandle<Drained>>,
}

impl Server {
    /// Serves this app with these options (JSON).
    pub fn start<F, Fut>(options: &str, app: F) -> Self
    where
        F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        Self::start_on(bind("127.0.0.1:0"), options, app)
    }

    /// As [`Server::start`], on these listeners, of which the first is TCP.
    pub fn start_on<F, Fut>(listeners: Vec<Listener>, options: &str, app: F) -> Self
    where
        F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        Self::start_stack_on(listeners, options, next(app))
    }

    /// Serves this stack with these options (JSON).
    pub fn start_stack(options: &str, stack: Next) -> Self {
        Self::start_stack_on(bind("127.0.0.1:0"), options, stack)
    }

    fn start_stack_on(listeners: Vec<Listener>, options: &str, stack: Next) -> Self {
        let options: Options = serde_json::from_str(options).unwrap();
        let address = listeners[0].socket_addr().unwrap();
        let running = server::Server::start(listeners, stack, &options).unwrap();
        Self { address, running: Some(running), drain: None }
    }

    pub fn traffic(&self) -> Traffic {
        self.running.as_ref().unwrap().traffic()
    }

    /// A server whose app responds with `hello`.
    pub fn hello(options: &str) -> Self {
        Self::start(options, |_| async { Response::new(Body::from("hello")) })
    }

    pub async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Replaces the stack and the options, and keeps the listeners.
    pub async fn replace(&mut self, options: &str, stack: Next) -> Retiring {
        let running = self.running.as_mut().unwrap();
        let kept = running.listening().to_vec();
        running.replace(stack, &serde_json::from_str(options).unwrap(), &kept, Vec::new()).await.unwrap()
    }

    /// Starts the drain.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.drain = Some(tokio::spawn(running.drain()));
        }
    }

    /// Drains the server and waits for its end.
    pub async fn drained(mut self) -> Drained {
        self.stop();
        timeout(PATIENCE, self.drain.unwrap()).await.unwrap().unwrap()
    }
}

/// Binds an address that needs no folder.
pub fn bind(listen: &str) -> Vec<Listener> {
    Listener::bind(&listen.parse().unwrap(), Path::new("/")).unwrap()
}

/// A service from a function.
pub fn next<F, Fut>(app: F) -> Next
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    let app = tower::service_fn(move |request| {
        let answer = app(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    Next::new("app.test", app)
}

/// A connection that sends octets.
pub struct Client(pub TcpStream);

impl Client {
    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        // A server that closes early is no error here: the response shows it.
        let _ = self.0.write_all(octets.as_ref()).await;
    }

    /// Reads until the server closes.
    pub async fn read_to_end(&mut self) -> String {
        let mut answer = Vec::new();
        let end = timeout(PATIENCE, self.0.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(end.is_ok(), "the server does not close after {answer:?}");
        answer
    }

    /// Reads until the octets so far end with `end`.
    pub async fn read_until(&mut self, end: &str) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let read = timeout(PATIENCE, self.0.read_u8()).await;
            match read {
                Ok(Ok(octet)) => answer.push(octet),
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&answer)),
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A stack that responds with this text.
pub fn saying(text: &'static str) -> Next {
    next(move |_| async move { Response::new(Body::from(text)) })
}

/// Sends a message when it is dropped.
pub struct Noted(pub mpsc::UnboundedSender<()>);

impl Drop for Noted {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// The requests that reached an app.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Vec<String>>>);

impl Record {
    /// An app that records method, target, headers and body, and responds with `ok`; with 400 if the body fails.
    pub fn app(&self) -> impl Fn(Request) -> std::pin::Pin<Box<dyn Future<Output = Response> + Send>> + Clone + Send + Sync + 'static {
        let record = self.clone();
        move |request| {
            let record = record.clone();
            Box::pin(async move {
                let (parts, body) = request.into_parts();
                let mut text = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
                for (name, value) in &parts.headers {
                    text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
                }
                match body.collect().await {
                    Ok(body) => text += &format!("\n{}", String::from_utf8_lossy(&body.to_bytes())),
                    Err(_) => return http::Response::builder().status(400).body(Body::empty()).unwrap(),
                }
                record.0.lock().unwrap().push(text);
                Response::new(Body::from("ok"))
            })
        }
    }

    pub fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
