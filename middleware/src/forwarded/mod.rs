//! `forwarded`: believes what trusted proxies say about a request, and nobody else.

use std::fmt;
use std::net::IpAddr;

use http::StatusCode;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::options::OneOrMany;
use crate::{Behavior, ConnectionInfo, Context, Finding, IntoStage, Middleware, Problem, Request, Response, Scheme, around};

mod chain;
mod node;
mod rfc7239;
#[cfg(test)]
mod tests;
mod trust;
mod x_forwarded;

use trust::{Peer, Trust};

/// Believes what trusted proxies say about the client, and removes what anybody else says.
///
/// Behind a proxy every request seems to come from the proxy, in clear text. The proxy tells in headers who really asked, but any client
/// can send the same headers. So this layer looks at who is on the other end of the connection:
///
/// - From an address that is not in `trust`, `Forwarded`, every `X-Forwarded-*` and `X-Real-IP` are removed and nothing is believed.
///   With no `trust`, as by the bare name, that holds for everyone, loopback included.
/// - From a trusted one, the list of addresses is read from its right end, where the nearest proxy wrote: trusted proxies are passed over, and
///   the first address that is not trusted is the client. What stands left of it was sent by that client and is never looked at. If all
///   are trusted, the leftmost is the client. A hop that names no address (`unknown`, `_hidden`) ends the list before it.
///
/// Scheme, host and port are taken from the same hop as the client: the same element of `Forwarded`; for `X-Forwarded-Proto`, `-Host` and
/// `-Port` the value as far from the right end as the client's, or the leftmost where fewer are given. Without an `X-Forwarded-Port` the
/// port is that of the host, or the scheme's own.
/// What is found corrects the client's address (`REMOTE_ADDR`), the scheme (`wsgi.url_scheme`), the port (`SERVER_PORT`) and the `Host` header, for the
/// layers below and the app. The headers themselves stay for the app to read. A trusted proxy's header that is malformed where it
/// counts is answered with 400.
///
/// Make sure that the proxy sets, or removes, each of the headers that is read: what it merely passes on from the client is believed.
///
/// Place it high, right below `request_id`: layers above it see the proxy's address, layers below it the client's.
///
/// ```json
/// {
///   "listen": "127.0.0.1:8000",
///   "layers": [{ "forwarded": { "trust": ["127.0.0.1", "10.0.0.0/8"] } }, "access_log"],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Forwarded {
    /// The proxies to believe: networks such as `10.0.0.0/8` or `fd00::/8`, single addresses, and `unix` for whoever connects to a Unix socket.
    trust: OneOrMany<Peer>,
    /// Which headers the trusted proxies write. The other kind is removed, lest a client's gets through a proxy that does not know it.
    header: ForwardingHeader,
}

/// Which headers to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ForwardingHeader {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Port`, as most proxies write.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl Middleware for Forwarded {
    const NAME: &'static str = "forwarded";
    const SHORTHAND: Option<&'static str> = Some("trust");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::TrustsProxies, Behavior::AnswersEarly];

    fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
        let trust = Trust::new(self.trust.0);
        let family = self.header;
        Ok(around(move |request: &mut Request| {
            let trusted = request.extensions().get::<ConnectionInfo>().is_some_and(|connection| trust.sent(connection));
            strip(request.headers_mut(), trusted.then_some(family));
            if let Some(connection) = request.extensions_mut().get_mut::<ConnectionInfo>() {
                connection.is_vetted = true;
            }
            if trusted {
                let claim = match family {
                    ForwardingHeader::XForwarded => x_forwarded::read(request.headers(), &trust),
                    ForwardingHeader::Forwarded => rfc7239::read(request.headers(), &trust),
                };
                claim
                    .and_then(|claim| claim.apply(request))
                    .map_err(|malformed| Problem::new(StatusCode::BAD_REQUEST).detail(format!("the {malformed} header is malformed")))?;
            }
            Ok(|response: Response| response)
        }))
    }
}

/// Whether in this header a proxy speaks of the client: `Forwarded`, `X-Forwarded-*`, `X-Real-IP`.
#[must_use]
pub fn is_claim(name: &HeaderName) -> bool {
    family_of(name).is_some()
}

fn family_of(name: &HeaderName) -> Option<ForwardingHeader> {
    match name.as_str() {
        "forwarded" => Some(ForwardingHeader::Forwarded),
        "x-real-ip" => Some(ForwardingHeader::XForwarded),
        name if name.starts_with("x-forwarded-") => Some(ForwardingHeader::XForwarded),
        _ => None,
    }
}

/// Removes the headers that tell of forwarding, but for one kind.
fn strip(headers: &mut HeaderMap, but: Option<ForwardingHeader>) {
    let unwanted = |name: &&HeaderName| family_of(name).is_some_and(|family| Some(family) != but);
    let names: Vec<HeaderName> = headers.keys().filter(unwanted).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// What the outermost trusted proxy says of the request that it received.
#[derive(Debug, Default, PartialEq, Eq)]
struct Claim {
    client: Option<(IpAddr, Option<u16>)>,
    scheme: Option<Scheme>,
    host: Option<(HeaderValue, Option<u16>)>,
    port: Option<u16>,
}

/// The header that cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

impl Claim {
    fn apply(self, request: &mut Request) -> Result<(), Malformed> {
        let host_port = match &self.host {
            Some((_, port)) => *port,
            None => request.headers().get(HOST).and_then(|host| node::host(host.as_bytes())?.1),
        };
        if let Some((host, _)) = self.host {
            if request.uri().authority().is_some() {
                *request.uri_mut() = at_host(request.uri(), &host).ok_or(Malformed("X-Forwarded-Host"))?;
            }
            request.headers_mut().insert(HOST, host);
        }
        if let Some(connection) = request.extensions_mut().get_mut::<ConnectionInfo>() {
            if let Some((client, port)) = self.client {
                connection.client = Some(client);
                connection.client_port = port;
            }
            if let Some(scheme) = self.scheme {
                connection.scheme = scheme;
            }
            let port = self.port.or(host_port).or(self.scheme.map(Scheme::default_port));
            connection.server_port = port.or(connection.server_port);
        }
        Ok(())
    }
}

/// An absolute request target with another host.
fn at_host(uri: &Uri, host: &HeaderValue) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
    Uri::from_parts(parts).ok()
}
