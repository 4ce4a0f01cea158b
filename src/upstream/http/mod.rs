//! HTTP/1.1 and HTTP/2 to upstreams, on hyper's connections.

mod form;
mod resets;
#[cfg(test)]
mod tests;
mod validate;

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::header::SEC_WEBSOCKET_KEY;
use http::request::Parts;
use http::{StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::timeout;
use ziggurat_middleware::{ConnectionInfo, EarlyHints, Scheme};

use self::resets::Http2Stream;
use super::dial::{Dialed, dial};
use super::failure::{Failure, FailureKind, FailurePhase};
use super::progress::UploadProgress;
use super::protocol::{Connection, Protocol};
use super::replay::Upload;
use super::target::Address;
use super::tls::TlsClient;
use crate::proxy_protocol::ProxyProtocol;

/// HTTP to upstreams.
pub(crate) struct Http {
    pub(crate) version: HttpVersion,
    /// For upstreams with an `https` URL.
    pub(crate) tls: Option<TlsClient>,
    /// The header that tells upstreams about the client, at the beginning of each connection.
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
}

/// The version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN over TLS, else by prior knowledge (RFC 9113 section 3.3).
    Http2,
    /// HTTP/2 where an upstream offers it by ALPN, else HTTP/1.1.
    #[default]
    Auto,
}

impl HttpVersion {
    /// The protocols to offer in a TLS handshake.
    pub(crate) const fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Auto => &[b"h2", b"http/1.1"],
        }
    }
}

/// An open connection.
pub(crate) enum HttpConnection {
    Http1(http1::SendRequest<Upload>),
    Http2 { sender: http2::SendRequest<Upload>, streams: Arc<Streams>, scheme: Scheme },
}

/// The number of streams that an upstream allows on a connection. Its SETTINGS arrive before its first response.
pub(crate) struct Streams {
    allowed: AtomicUsize,
    is_known: AtomicBool,
    /// Wakes the task that drives the connection.
    driver: AtomicWaker,
    /// Whether the upstream takes extended CONNECT (RFC 8441 section 3). `None` before its SETTINGS.
    takes_connect: watch::Sender<Option<bool>>,
}

/// The limit before the first response.
const FIRST_STREAMS: usize = 10;

/// The limit that h2 assumes before the SETTINGS of the upstream. Another one shows that they have come. It is one that hardly any server sets.
const UNKNOWN_STREAMS: usize = 61;

/// How long a request for a WebSocket waits for the SETTINGS of the upstream, which begin the connection.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(1);

/// How often it looks for them.
const SETTINGS_INTERVAL: Duration = Duration::from_millis(5);

impl Streams {
    fn ask(&self) {
        self.is_known.store(true, Relaxed);
        self.driver.wake();
    }

    /// Notes what the SETTINGS say about extended CONNECT.
    fn settle(&self, takes_connect: bool) {
        self.takes_connect.send_if_modified(|known| known.replace(takes_connect) != Some(takes_connect));
    }

    /// Waits for the SETTINGS of the upstream. hyper does not tell when they come, so its task is asked again and again.
    async fn take_connect(&self) -> bool {
        let mut known = self.takes_connect.subscribe();
        let settled = async {
            loop {
                self.driver.wake();
                if let Ok(Ok(known)) = timeout(SETTINGS_INTERVAL, known.wait_for(Option::is_some)).await {
                    return *known == Some(true);
                }
            }
        };
        timeout(SETTINGS_TIMEOUT, settled).await.unwrap_or(false)
    }
}

/// The largest head of an answer, and the largest block of trailers.
const HEAD: usize = 64 << 10;

/// The most streams of one connection.
const STREAMS: usize = 100;

/// Flow control windows: unread octets of one body, and of all bodies of a connection. Clients that read nothing stop no other one.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;

/// The interval and the timeout of PING frames.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

impl Protocol for Http {
    type Connection = HttpConnection;

    async fn open(&self, address: &Address, tls: Option<&str>) -> Result<HttpConnection, Failure> {
        let tls = tls.and_then(|host| Some((self.tls.as_ref()?, host)));
        let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
        let preface = self.proxy_protocol.map(ProxyProtocol::local).unwrap_or_default();
        let Dialed { io, is_h2 } = dial(address, &preface, tls).await?;
        match self.version {
            HttpVersion::Http2 if scheme == Scheme::Https && !is_h2 => {
                Err(Failure::unreachable("the upstream does not offer HTTP/2 (ALPN)"))
            }
            HttpVersion::Http2 => http2(io, scheme).await,
            HttpVersion::Auto if is_h2 => http2(io, scheme).await,
            HttpVersion::Http1 | HttpVersion::Auto => http1(io).await,
        }
    }

    async fn open_exclusive(&self, address: &Address, tls: Option<&str>, preface: Option<&[u8]>) -> Result<HttpConnection, Failure> {
        if self.version == HttpVersion::Http2 {
            let cause =
                "the upstream takes no WebSockets over HTTP/2 (SETTINGS_ENABLE_CONNECT_PROTOCOL), and `http` allows no other version";
            return Err(Failure::new(FailureKind::Refused, FailurePhase::Head, cause));
        }
        let client = self.tls.as_ref().map(|tls| tls.offering(HttpVersion::Http1.alpn()));
        let Dialed { io, .. } = dial(address, preface.unwrap_or_default(), client.as_ref().zip(tls)).await?;
        http1(io).await
    }

    fn preface(&self, request: &Parts) -> Option<Vec<u8>> {
        Some(self.proxy_protocol?.of_client(request.extensions.get::<ConnectionInfo>()))
    }

    fn may_share(&self, tls: Option<&str>) -> bool {
        match self.version {
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
            HttpVersion::Auto => tls.is_some(),
        }
    }
}

async fn http1(io: super::dial::Io) -> Result<HttpConnection, Failure> {
    let mut builder = http1::Builder::new();
    builder.max_header_size(HEAD).max_buf_size(HEAD + 1024);
    let (sender, connection) = builder.handshake(io).await.map_err(Failure::unreachable)?;
    // Errors are reported to the exchange under way.
    tokio::spawn(async { _ = connection.with_upgrades().await });
    Ok(HttpConnection::Http1(sender))
}

async fn http2(io: super::dial::Io, scheme: Scheme) -> Result<HttpConnection, Failure> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(UNKNOWN_STREAMS)
        .max_header_list_size(HEAD as u32)
        .max_send_buf_size(HEAD);
    let io = TokioIo::new(Http2Stream::new(io.into_inner()));
    let (sender, mut connection) = builder.handshake(io).await.map_err(Failure::unreachable)?;
    let streams = Arc::new(Streams {
        allowed: AtomicUsize::new(FIRST_STREAMS),
        is_known: AtomicBool::new(false),
        driver: AtomicWaker::new(),
        takes_connect: watch::Sender::new(None),
    });
    let asked = Arc::clone(&streams);
    tokio::spawn(poll_fn(move |cx| {
        asked.driver.register(cx.waker());
        let end = Pin::new(&mut connection).poll(cx);
        if connection.current_max_send_streams() != UNKNOWN_STREAMS {
            asked.settle(connection.is_extended_connect_protocol_enabled());
        }
        if asked.is_known.load(Relaxed) {
            asked.allowed.store(connection.current_max_send_streams().min(STREAMS), Relaxed);
        }
        end.map(drop)
    }));
    Ok(HttpConnection::Http2 { sender, streams, scheme })
}

impl Connection for HttpConnection {
    type Body = Incoming;

    async fn exchange(&mut self, mut request: http::Request<Upload>, is_reused: bool) -> Result<http::Response<Incoming>, Failure> {
        let mut asked = validate::Asked::of(&request);
        let response = match self {
            Self::Http1(sender) => {
                if form::add_key(&mut request) {
                    asked.key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
                }
                form::http1(&mut request);
                let progress = count_informational(&mut request);
                let mut response = pin!(sender.try_send_request(request));
                let flooded = || Failure::malformed("a flood of informational responses");
                poll_fn(|cx| if progress.is_flooded(cx) { Poll::Ready(Err(flooded())) } else { response.as_mut().poll(cx).map(Ok) }).await?
            }
            Self::Http2 { sender, streams, scheme } => {
                form::http2(&mut request, *scheme)?;
                let response = sender.try_send_request(request).await;
                streams.ask();
                response
            }
        };
        let mut response = response.map_err(|error| failure(error, is_reused))?;
        if response.version() == Version::HTTP_2 {
            form::switched(&mut response);
        }
        validate::response(&response, &asked)?;
        Ok(response)
    }

    async fn takes(&self, request: &http::Request<Upload>) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2 { streams, .. } => !form::is_websocket(request) || streams.take_connect().await,
        }
    }

    fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2 { sender, streams, scheme } => {
                Some(Self::Http2 { sender: sender.clone(), streams: Arc::clone(streams), scheme: *scheme })
            }
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Http1(_) => 1,
            Self::Http2 { streams, .. } => streams.allowed.load(Relaxed),
        }
    }

    fn is_open(&self) -> bool {
        match self {
            Self::Http1(sender) => !sender.is_closed(),
            Self::Http2 { sender, .. } => !sender.is_closed(),
        }
    }

    async fn ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2 { sender, .. } => sender.ready().await.is_ok(),
        }
    }
}

/// Counts 1xx responses in the progress of the upload. `100 Continue` lets the body go, and 103 goes on to the client, if it takes hints.
fn count_informational(request: &mut http::Request<Upload>) -> Arc<UploadProgress> {
    let progress = Arc::clone(request.body().progress());
    let counted = Arc::clone(&progress);
    let hints = EarlyHints::of(request.extensions()).cloned();
    hyper::ext::on_informational(request, move |response| {
        counted.inform(response.status());
        if let Some(hints) = hints.as_ref().filter(|_| response.status() == StatusCode::EARLY_HINTS) {
            hints.send(response.headers());
        }
    });
    progress
}

fn failure(mut error: TrySendError<http::Request<Upload>>, is_reused: bool) -> Failure {
    if error.take_message().is_some() {
        return Failure::new(FailureKind::Unsent, FailurePhase::Head, error.into_error());
    }
    let error = error.into_error();
    let kind = kind(&error, is_reused);
    Failure::new(kind, FailurePhase::Head, error)
}

/// Classifies an error of hyper.
fn kind(error: &hyper::Error, is_reused: bool) -> FailureKind {
    if let Some(h2) = h2_error(error)
        && h2.is_remote()
        && (h2.is_go_away() || h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM))
    {
        // h2 reports GOAWAY only to streams above the last processed one.
        return FailureKind::Refused;
    }
    let is_protocol_error = h2_error(error).is_some_and(h2::Error::is_library);
    match error {
        error if error.is_parse() || is_protocol_error => FailureKind::Malformed,
        // A PING without an answer is one of these, too: the connection is dead.
        _ if is_reused => FailureKind::Stale,
        _ => FailureKind::Reset,
    }
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return Some(h2);
        }
        source = error.source();
    }
    None
}
