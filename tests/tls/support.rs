//! A server with TLS in this process, and TLS clients.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use ziggurat::pipeline::Pipeline;
use ziggurat::server::{Listener, Server};
use ziggurat::tls::TlsServer;
use ziggurat_middleware::{Body, ConnectionInfo, Lifecycle, Next, RemoteUser, Request, Response, TlsInfo};

use super::authority::Authority;

/// Nothing a test waits for may take longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server on a loopback port.
pub struct Site {
    pub authority: Authority,
    pub address: SocketAddr,
    pub server: Option<Server>,
    pub lifecycle: Lifecycle,
    /// About the files, as a person reads them.
    pub warnings: String,
    tls: Arc<TlsServer>,
    registry: ziggurat::pipeline::Registry,
}

impl Site {
    /// Serves [`echo`] with these options of `tls`; paths are those of the authority.
    pub fn start(authority: Authority, tls: &str) -> Self {
        Self::start_with(authority, tls, "{}", Next::new("app.test", tower::service_fn(echo)))
    }

    /// As [`Site::start`], with options of the server and another stack.
    pub fn start_with(authority: Authority, tls: &str, server: &str, stack: Next) -> Self {
        Self::start_entry(authority, &format!(r#""tls": {tls}"#), server, stack)
    }

    /// As [`Site::start_with`], with all keys of the entry of `listen` but its address.
    pub fn start_entry(authority: Authority, entry: &str, server: &str, stack: Next) -> Self {
        let lifecycle = Lifecycle::default();
        let registry = ziggurat::builtin();
        let pipeline = pipeline(&authority, entry, server, &registry);
        let (listen, warnings) = pipeline.listeners(&lifecycle).unwrap_or_else(|report| panic!("{report}"));
        let tls = listen[0].transport.tls.clone().unwrap();
        let listeners = Listener::bind(&listen[0], authority.base()).unwrap();
        let address = listeners[0].socket_addr().unwrap();
        let server = Server::start(listeners, stack, pipeline.server()).unwrap();
        Self { authority, address, server: Some(server), lifecycle, warnings: warnings.render(false), tls, registry }
    }

    /// Replaces everything, as a reload does.
    pub async fn reload(&mut self, tls: &str) {
        self.reload_entry(&format!(r#""tls": {tls}"#)).await;
    }

    /// As [`Site::reload`], with all keys of the entry of `listen` but its address.
    pub async fn reload_entry(&mut self, entry: &str) {
        let lifecycle = self.lifecycle.successor();
        let pipeline = pipeline(&self.authority, entry, "{}", &self.registry);
        let (listen, _) = pipeline.listeners(&lifecycle).unwrap_or_else(|report| panic!("{report}"));
        let stack = Next::new("app.test", tower::service_fn(echo));
        let server = self.server.as_mut().unwrap();
        // HTTP/3 is a listener of its own.
        let is_new = listen[0].http.has_http3() && !server.listening()[0].http.has_http3();
        let added = if is_new { vec![Listener::bind_http3(&listen[0], self.address).unwrap()] } else { Vec::new() };
        let retiring = server.replace(stack, pipeline.server(), &listen, added).await.unwrap();
        tokio::spawn(retiring);
        std::mem::replace(&mut self.lifecycle, lifecycle).retire().await;
    }

    /// A client that trusts the authority.
    pub fn client(&self) -> Client {
        Client { address: self.address, config: config(&self.authority, &[&TLS13, &TLS12]) }
    }

    /// Has changed files used now.
    pub fn refresh(&self) {
        self.tls.refresh();
    }

    /// What `ziggurat status` tells.
    pub fn status(&self) -> String {
        format!("{:?}", self.lifecycle.status())
    }

    /// The response to a request over HTTP/2.
    pub async fn http2(&self, request: http::request::Builder) -> Response {
        let stream = self.client().offering(&["h2"]).connect("site.test").await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = timeout(PATIENCE, sender.send_request(request.body(Body::empty()).unwrap())).await.unwrap().unwrap();
        response.map(Body::new)
    }

    /// A connection without TLS.
    pub async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn pipeline(authority: &Authority, entry: &str, server: &str, registry: &ziggurat::pipeline::Registry) -> Pipeline {
    let text = format!(r#"{{ "listen": {{ "at": "127.0.0.1:0", {entry} }}, "server": {server}, "app": {{ "respond": 200 }} }}"#);
    Pipeline::from_text("site.json", &text, authority.base(), registry, &|_| None).unwrap_or_else(|report| panic!("{report}"))
}

/// Responds with what the stack knows about the connection.
pub async fn echo(request: Request) -> Result<Response, Infallible> {
    let scheme = request.extensions().get::<ConnectionInfo>().unwrap().scheme.as_str();
    let Some(tls) = request.extensions().get::<TlsInfo>() else { return Ok(Response::new(Body::from(scheme))) };
    let name = tls.server_name.as_deref().unwrap_or("-");
    let session = if tls.is_resumed { "resumed" } else { "initial" };
    let mut text = format!("{scheme} {} {} {name} {session}", tls.protocol, tls.cipher);
    if let Some(client) = &tls.client {
        text += &format!(" {}", client.subject);
    }
    if let Some(user) = request.extensions().get::<RemoteUser>() {
        text += &format!(" as {}", user.user);
    }
    Ok(Response::new(Body::from(text)))
}

/// A client's configuration.
pub fn config(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(authority.roots()).with_no_client_auth()
}

/// A client with the certificate `FILE.pem`.
pub fn with_certificate(site: &Site, versions: &[&'static SupportedProtocolVersion], file: &str) -> Client {
    let chain = vec![CertificateDer::from_pem_file(site.authority.path(&format!("{file}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(site.authority.path(&format!("{file}.key"))).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_protocol_versions(versions).unwrap();
    let config = builder.with_root_certificates(site.authority.roots()).with_client_auth_cert(chain, key).unwrap();
    Client { address: site.address, config }
}

/// A client, with the sessions that it has.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub config: ClientConfig,
}

impl Client {
    pub fn offering(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Without sessions.
    pub fn fresh(mut self) -> Self {
        self.config.resumption = Resumption::disabled();
        self
    }

    pub async fn connect(&self, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        timeout(PATIENCE, TlsConnector::from(Arc::new(self.config.clone())).connect(name, socket)).await.unwrap()
    }

    /// GET / with this `Host` on a connection of its own, opened for `name`. Everything until the server closes it.
    pub async fn get_host(&self, name: &str, host: &str) -> std::io::Result<String> {
        let mut stream = self.connect(name).await?;
        exchange(&mut stream, &format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }

    pub async fn get(&self, name: &str) -> std::io::Result<String> {
        self.get_host(name, name).await
    }
}

/// Sends octets, and reads until the server closes the connection as TLS wants it.
pub async fn exchange(stream: &mut TlsStream<TcpStream>, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap()?;
    Ok(String::from_utf8(answer).unwrap())
}

/// The body of an answer.
pub fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}
