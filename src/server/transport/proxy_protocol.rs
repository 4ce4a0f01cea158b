//! The PROXY protocol header at the beginning of a connection, in front of TLS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout};
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::units::Duration;
use ziggurat_middleware::{ConnectionInfo, Finding, Findings, Peer, Summary};

use crate::proxy_protocol::{Header, Malformed, Parsed, parse};
use crate::server::connection_table::ConnectionGuard;
use crate::server::listen::Listen;
use crate::server::service::Client;

/// Proxies that begin each connection with a PROXY protocol header, version 1 or 2, which names the client. A connection from one of them without a header is closed. On connections from anybody
/// else no header is looked for: there, it would be part of the request.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ListenProxyProtocol")]
pub struct ProxyProtocolOptions {
    /// The proxies: networks such as `10.0.0.0/8` or `fd00::/8`, addresses, and `unix` for connections on a Unix socket.
    trust: OneOrMany<Peer>,
    /// The time in which the header must arrive. Proxies send it at once.
    #[serde(default = "timeout_by_default")]
    timeout: Duration,
    /// What has gone wrong.
    #[serde(skip)]
    log: Summary<Failure>,
}

const fn timeout_by_default() -> Duration {
    Duration::secs(3)
}

impl PartialEq for ProxyProtocolOptions {
    fn eq(&self, other: &Self) -> bool {
        (&self.trust, self.timeout) == (&other.trust, other.timeout)
    }
}

impl Eq for ProxyProtocolOptions {}

impl ProxyProtocolOptions {
    /// Reports options with which no connection could be served.
    pub fn validate(&self, findings: &mut Findings) {
        if self.trust.0.is_empty() {
            let finding = Finding::new("no proxy is trusted, so no header is looked for").at("trust");
            findings.push(finding.hint("name the networks of the proxies, as in `[\"10.0.0.0/8\"]`, or leave `proxy_protocol` out"));
        }
        if self.timeout.0.is_zero() {
            findings.push(Finding::new("no header can arrive within `0s`").at("timeout").hint("write a time such as `\"3s\"`"));
        }
    }
}

/// Why the connection of a trusted proxy was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    NoHeader,
    Malformed,
    TooSlow,
}

/// Reads the header of a trusted proxy, and says in `info` who the client is. `false` if the connection is over.
pub(in crate::server) async fn accept<S: AsyncRead + Unpin>(
    socket: &mut S,
    info: &mut ConnectionInfo,
    options: &ProxyProtocolOptions,
    listen: &Listen,
    guard: &ConnectionGuard,
) -> bool {
    if !options.trust.0.iter().any(|peer| peer.sent(info)) {
        return true;
    }
    let header = tokio::select! {
        header = timeout(options.timeout.0, read(socket)) => header,
        () = guard.makes_room(Instant::now()) => return false,
    };
    let (failure, why) = match header {
        Ok(Ok(header)) => {
            apply(header, info);
            return true;
        }
        // A probe of the proxy, for instance, or it has gone.
        Ok(Err(Unread::Closed)) => return false,
        Ok(Err(Unread::Malformed(malformed @ Malformed::Signature))) => (Failure::NoHeader, malformed.to_string()),
        Ok(Err(Unread::Malformed(malformed))) => (Failure::Malformed, malformed.to_string()),
        Err(_) => (Failure::TooSlow, format!("no PROXY protocol header came within {}", options.timeout)),
    };
    let line = format!("{why}: closed a connection from {}", Client(info));
    let listener = listen.to_string();
    let on = listener.clone();
    let sum_up = move |count: u64, latest: String, seconds: u64| {
        tracing::warn!(listener = on.as_str(), count, "{count} more such connections within {seconds} s, the last one: {latest}");
    };
    if options.log.begins(failure, || line.clone(), sum_up) {
        tracing::warn!(listener = listener.as_str(), "{line}");
    }
    false
}

enum Unread {
    Closed,
    Malformed(Malformed),
}

/// Reads a header and nothing behind it: each time no more than the header lacks at least.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Header, Unread> {
    let mut octets = Vec::new();
    loop {
        match parse(&octets).map_err(Unread::Malformed)? {
            Parsed::Complete(header, _) => return Ok(header),
            Parsed::Incomplete(missing) => {
                let known = octets.len();
                octets.resize(known + missing, 0);
                let read = stream.read(&mut octets[known..]).await.unwrap_or_default();
                if read == 0 {
                    return Err(Unread::Closed);
                }
                octets.truncate(known + read);
            }
        }
    }
}

fn apply(header: Header, info: &mut ConnectionInfo) {
    match header {
        Header::Local => {}
        Header::Ip { client, server } => {
            (info.client, info.client_port) = (Some(client.ip().to_canonical()), Some(client.port()));
            info.local = Some((server.ip().to_canonical(), server.port()).into());
        }
        Header::Unix => (info.client, info.client_port, info.local) = (None, None, None),
    }
}
