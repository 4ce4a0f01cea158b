//! The HTTP client of layers ([`Client`]), on the connection pools of this module.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use http::uri::PathAndQuery;
use http::{Response, Uri};
use tokio::task::AbortHandle;
use tower::service_fn;
use ziggurat_middleware::{Body, BoxError, Client, Finding, Place, Request, UnixSocket};

use super::http::{Http, HttpVersion};
use super::tls::{TlsClient, TlsOptions};
use super::{
    Balance, EjectOptions, Endpoint, PoolTimeouts, QueueOptions, RetryOptions, SendError, Settings, Target, Upstream, UpstreamRequest,
    UpstreamState,
};

/// A client with a pool for each server that it is sent to.
pub(crate) fn client() -> Client {
    client_of(Servers::default()).with_trusting(|ca| client_trusting(ca.to_owned()))
}

/// A client that trusts the authorities of this PEM file alone.
///
/// # Errors
///
/// Why the file cannot be used.
pub(crate) fn client_trusting(ca: PathBuf) -> Result<Client, Finding> {
    let tls = TlsOptions::trusting(ca).client(&Place::new("client"), |path| path.to_owned(), HttpVersion::Auto.alpn())?;
    Ok(client_of(Servers { tls: OnceLock::from(Ok(tls)), ..Servers::default() }))
}

fn client_of(servers: Servers) -> Client {
    let servers = Arc::new(servers);
    Client::new(service_fn(move |request: Request| {
        let servers = Arc::clone(&servers);
        async move { servers.send(request).await }
    }))
}

#[derive(Default)]
struct Servers {
    /// By scheme and authority, or by `unix:` and the path of a socket.
    open: Mutex<HashMap<String, Arc<Server>>>,
    /// The authorities of the system, read for the first `https` URL.
    tls: OnceLock<Result<TlsClient, Finding>>,
}

struct Server {
    upstream: Arc<Upstream<Http>>,
    /// The task that looks the name up.
    run: AbortHandle,
}

/// The most servers that have a pool.
const MOST_SERVERS: usize = 64;

/// The longest time to the head of a response. Layers set shorter ones.
const HEAD: Duration = Duration::from_secs(60);

impl Servers {
    async fn send(&self, request: Request) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let server = self.server(&parts.uri, parts.extensions.get())?;
        let head = |endpoint: &Endpoint<Http>, _| {
            let mut head = http::Request::new(());
            *head.method_mut() = parts.method.clone();
            *head.uri_mut() = Uri::from(parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
            *head.headers_mut() = parts.headers.clone();
            head.headers_mut().remove(CONNECTION);
            head.headers_mut().remove(UPGRADE);
            head.headers_mut().entry(HOST).or_insert_with(|| HeaderValue::clone(&endpoint.authority));
            head
        };
        let request = UpstreamRequest { parts: &parts, body, head: &head, expects_continue: false };
        match server.upstream.send(request).await {
            Ok(answer) => Ok(answer.response.map(Body::new)),
            Err(SendError::Failed(failure)) => Err(failure.into()),
            Err(SendError::Client(error)) => Err(error),
            Err(SendError::Refused(refused)) => Err(format!("the request cannot be sent: {refused:?}").into()),
        }
    }

    fn server(&self, uri: &Uri, socket: Option<&UnixSocket>) -> Result<Arc<Server>, BoxError> {
        let name = match (socket, uri.scheme_str(), uri.authority()) {
            (Some(UnixSocket(path)), ..) => format!("unix:{}", path.display()),
            (None, Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
            _ => return Err(format!("`{uri}` is not an absolute URI").into()),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = open.get(&name) {
            return Ok(Arc::clone(server));
        }
        if open.len() >= MOST_SERVERS {
            open.retain(|_, server| Arc::strong_count(server) > 1);
        }
        if open.len() >= MOST_SERVERS {
            return Err("requests to too many servers are under way".into());
        }
        let server = Arc::new(self.open(&name)?);
        open.insert(name, Arc::clone(&server));
        Ok(server)
    }

    fn open(&self, name: &str) -> Result<Server, BoxError> {
        let target: Target = name.parse()?;
        let place = Place::new("client");
        let tls = if target.scheme == ziggurat_middleware::Scheme::Https {
            let read = || TlsOptions::default().client(&place, |path| path.to_owned(), HttpVersion::Auto.alpn());
            Some(self.tls.get_or_init(read).as_ref().map_err(ToString::to_string)?.clone())
        } else {
            None
        };
        let queue = QueueOptions::default();
        let settings = Settings {
            base: PathBuf::new(),
            balance: Balance::default(),
            sticky: None,
            timeouts: PoolTimeouts { connect: Duration::from_secs(3), wait: queue.wait() },
            head: HEAD,
            idle: HEAD,
            limit: 256,
            queue,
            retry: Some(RetryOptions::default()),
            health: None,
            host: None,
            eject: Some(EjectOptions::default()),
            resolve: Duration::from_secs(10),
        };
        let upstream = Upstream::new(
            &place,
            [(target, 1)],
            settings,
            Http { version: HttpVersion::Auto, tls, proxy_protocol: None },
            Arc::new(UpstreamState::default()),
        );
        let run = tokio::spawn(Arc::clone(&upstream).run()).abort_handle();
        Ok(Server { upstream, run })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run.abort();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers two requests for `/check?a` at this host.
    async fn answer_twice(mut socket: impl AsyncRead + AsyncWrite + Unpin, host: &str, answer: &[u8]) {
        for _ in 0..2 {
            let mut head = vec![0; 4096];
            let read = socket.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
            assert!(head.starts_with("get /check?a http/1.1\r\n") && head.contains(&format!("\r\nhost: {host}\r\n")), "{head}");
            socket.write_all(answer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_layer_asks_a_server_on_a_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move { answer_twice(listener.accept().await.unwrap().0, "localhost", b"HTTP/1.1 204 Yes\r\n\r\n").await });
        let client = client();
        for (path, is_there) in [(path.clone(), true), (path, true), (folder.path().join("other.sock"), false)] {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = "http://localhost/check?a".parse().unwrap();
            request.extensions_mut().insert(UnixSocket(path.into()));
            let response = client.send(request).await;
            assert_eq!(response.map(|response| response.status().as_u16()).ok(), is_there.then_some(204));
        }
    }

    #[tokio::test]
    async fn a_layer_asks_another_server_by_an_absolute_uri() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let answer = b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno";
            answer_twice(listener.accept().await.unwrap().0, &format!("localhost:{port}"), answer).await;
        });
        let client = client();
        for _ in 0..2 {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = format!("http://localhost:{port}/check?a").parse().unwrap();
            let response = client.send(request).await.unwrap();
            assert_eq!(response.status(), 403);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no");
        }
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = "/check".parse().unwrap();
        assert!(client.send(request).await.unwrap_err().to_string().contains("absolute"));
    }

    #[tokio::test]
    async fn whatever_a_server_sends_is_one_response_or_an_error() {
        let huge = format!("HTTP/1.1 200 Yes\r\nx: {}\r\n\r\n", "a".repeat(4 << 20));
        for (answer, status) in [
            ("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 204 Yes\r\n\r\n", Some(204)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n", Some(403)),
            ("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n", Some(302)),
            ("HTTP/1.0 200 Yes\r\n\r\n", Some(200)),
            ("HTTP/1.1 200 Yes\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", None),
            ("HTTP/1.1 200 Yes\r\nx: a\0b\r\n\r\n", None),
            ("SSH-2.0-OpenSSH_9.2\r\n", None),
            (huge.as_str(), None),
            ("", None),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let octets = answer.as_bytes().to_vec();
            let server = tokio::spawn(async move {
                loop {
                    let (mut socket, _) = listener.accept().await.unwrap();
                    let mut head = [0; 4096];
                    let _ = socket.read(&mut head).await;
                    let _ = socket.write_all(&octets).await;
                }
            });
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = format!("http://127.0.0.1:{port}/check").parse().unwrap();
            let got = client().send(request).await;
            let shown = answer.get(..60).unwrap_or(answer);
            assert_eq!(got.map(|response| response.status().as_u16()).ok(), status, "{shown:?}");
            server.abort();
        }
    }
}
