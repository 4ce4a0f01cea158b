//! `forwarded`: reads from trusted proxies who the client is.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;

use http::StatusCode;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::network::lets_everybody_in;
use crate::options::OneOrMany;
use crate::{
    Behavior, ConnectionInfo, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Peer, Problem, Request,
    RequestSummary, Response, Scheme, around,
};

mod chain;
mod node;
mod prefix;
mod rfc7239;
#[cfg(test)]
mod tests;
mod told;
mod trust;
mod x_forwarded;

pub use told::tell;
use trust::Trust;

/// Believes what trusted proxies say about the client, and removes what anybody else says.
///
/// Behind a proxy, every connection comes from the proxy, without TLS. The proxy names the client in headers, but every client can send the same headers. So
/// the layer looks at the address of the connection:
///
/// | connection | `Forwarded`, `X-Forwarded-*`, `X-Real-IP` |
/// | --- | --- |
/// | from an address in `trust` | are read; the app sees them |
/// | from any other address | are removed |
///
/// Without `trust`, as by its bare name, the layer trusts nobody, not even loopback addresses.
///
/// The list of addresses is read from its right end, where the nearest proxy appended. Trusted proxies are skipped; the first address that is not trusted is the
/// client. Everything to the left of it came from that client and is ignored. If all are trusted, the leftmost is the client. A hop without an address (`unknown`,
/// `_hidden`) ends the list before it.
///
/// Scheme, host and port are taken from the same hop as the client: from the same element of `Forwarded`, or from the value of `X-Forwarded-Proto`, `-Host`, `-Port` and `-Prefix`
/// at the same distance from the right end (the leftmost if there are fewer). Without `X-Forwarded-Port`, the port is that of the host, else that of the
/// scheme.
///
/// `X-Forwarded-Prefix` is the path at which a proxy mounts the site, and which it removes from the request's path.
///
/// The layers below and the app then see the client's address (`REMOTE_ADDR`), the scheme (`wsgi.url_scheme`), the port (`SERVER_PORT`), the `Host` header and the prefix (`SCRIPT_NAME`). If a trusted
/// proxy sends a malformed header, the answer is 400.
///
/// Make sure that the proxy sets or removes every header that is read: a header that it passes on from the client is believed.
///
/// Place it right below `request_id`. Layers above it see the proxy's address.
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
    /// The trusted proxies: networks such as `10.0.0.0/8` or `fd00::/8`, addresses, and `unix` for connections on a Unix socket.
    trust: OneOrMany<Peer>,
    /// How many proxies are in front, instead of `trust`: for platforms whose routers have no known addresses. The peer of every connection is then trusted, and so are as many hops less one.
    /// Clients must not reach the server past the proxies. If a request has come through fewer, the leftmost address is the client.
    proxies: Option<NonZeroUsize>,
    /// Which headers the proxies write. The others are removed, because a proxy that does not know them passes them on from the client.
    header: ForwardingHeader,
}

/// Which headers to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ForwardingHeader {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`, `X-Forwarded-Port` and `X-Forwarded-Prefix`, as most proxies write.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl Middleware for Forwarded {
    const NAME: &'static str = "forwarded";
    const SHORTHAND: Option<&'static str> = Some("trust");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::TrustsProxies, Behavior::AnswersEarly];
    const REPLACES: &'static [&'static str] = &["werkzeug.middleware.proxy_fix:ProxyFix"];

    fn validate(&self, findings: &mut Findings) {
        if self.proxies.is_some() && !self.trust.0.is_empty() {
            let finding = Finding::new("`proxies` cannot be combined with `trust`").at("proxies");
            findings.push(finding.hint("leave `trust` out if the addresses of the proxies are not known, and `proxies` if they are"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let judge = Judge::new(self);
        let before = explain.request().extensions().get::<ConnectionInfo>().cloned();
        let claims: Vec<String> =
            explain.request().headers().keys().filter(|name| is_claim(name)).map(|name| format!("`{name}`")).collect();
        let peer = before.as_ref().and_then(|connection| connection.client);
        let peer = peer.map_or_else(|| "the peer on a Unix socket".to_owned(), |peer| format!("the peer {peer}"));
        let is_trusted = before.as_ref().is_some_and(|connection| judge.trust.sent(connection));
        explain.note(match (is_trusted, claims.as_slice()) {
            (true, []) => format!("{peer} is trusted, and says nothing of the client"),
            (true, _) => format!("{peer} is trusted: what it says in headers counts"),
            (false, []) => format!("{peer} is not in `trust`: it is the client"),
            (false, claims) => format!("{peer} is not in `trust`: {} does not count and is removed", claims.join(", ")),
        });
        if explain.around(|request| judge.apply(request))
            && let (true, Some(connection)) = (is_trusted, explain.request().extensions().get::<ConnectionInfo>())
        {
            let client = connection.client.map_or_else(|| "without an address".to_owned(), |client| client.to_string());
            let host = explain.request().headers().get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
            explain.note(format!(
                "the client is {client}, over {}, and asks for `{}`",
                connection.scheme.as_str(),
                host.unwrap_or_default()
            ));
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        if self.proxies.is_none() && self.trust.0.is_empty() {
            effects.add(Effect::TrustsNobody);
        }
        let trusted = self.trust.0.iter().filter_map(|peer| match peer {
            Peer::Net(network) => Some((*network, true)),
            Peer::Unix => None,
        });
        if lets_everybody_in(&trusted.collect::<Vec<_>>()) {
            effects.by("trust", Effect::TrustsEverybody);
        }
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
        let judge = Judge::new(self);
        Ok(around(move |request: &mut Request| judge.apply(request)))
    }
}

/// Whom to believe, and what of it.
#[derive(Clone)]
struct Judge {
    trust: Trust,
    family: ForwardingHeader,
}

impl Judge {
    fn new(options: Forwarded) -> Self {
        let trust = options.proxies.map_or_else(|| Trust::new(options.trust.0), Trust::in_front);
        Self { trust, family: options.header }
    }

    /// Corrects what is known of the client of a request, and gives what tells it the layers above.
    fn apply(&self, request: &mut Request) -> Result<impl FnOnce(Response) -> Response + use<>, Problem> {
        let (trust, family) = (&self.trust, self.family);
        let trusted = request.extensions().get::<ConnectionInfo>().is_some_and(|connection| trust.sent(connection));
        strip(request.headers_mut(), trusted.then_some(family));
        if let Some(connection) = request.extensions_mut().get_mut::<ConnectionInfo>() {
            connection.is_vetted = true;
        }
        if trusted {
            let claim = match family {
                ForwardingHeader::XForwarded => x_forwarded::read(request.headers(), trust),
                ForwardingHeader::Forwarded => rfc7239::read(request.headers(), trust),
            };
            claim
                .and_then(|claim| claim.apply(request))
                .map_err(|malformed| Problem::new(StatusCode::BAD_REQUEST).detail(format!("the {malformed} header is malformed")))?;
        }
        let connection = request.extensions().get::<ConnectionInfo>().cloned();
        if let (Some(summary), Some(connection)) = (RequestSummary::of(request.extensions()), &connection) {
            summary.believe(connection);
        }
        Ok(move |mut response: Response| {
            // For layers above, such as the access log. A layer below may know more.
            if let Some(connection) = connection.filter(|_| response.extensions().get::<ConnectionInfo>().is_none()) {
                response.extensions_mut().insert(connection);
            }
            response
        })
    }
}

/// Whether a proxy describes the client in this header: `Forwarded`, `X-Forwarded-*`, `X-Real-IP`.
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

/// Removes the headers in which proxies describe the client, except for one kind.
fn strip(headers: &mut HeaderMap, but: Option<ForwardingHeader>) {
    let unwanted = |name: &&HeaderName| family_of(name).is_some_and(|family| Some(family) != but);
    let names: Vec<HeaderName> = headers.keys().filter(unwanted).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// What the outermost trusted proxy says about the request that it received.
#[derive(Debug, Default, PartialEq, Eq)]
struct Claim {
    client: Option<(IpAddr, Option<u16>)>,
    scheme: Option<Scheme>,
    host: Option<(HeaderValue, Option<u16>)>,
    port: Option<u16>,
    prefix: Option<String>,
}

/// The name of a header that cannot be read.
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
        if let Some(prefix) = self.prefix.filter(|prefix| !prefix.is_empty()) {
            let mount = prefix::mount(request.uri(), prefix).ok_or(Malformed("X-Forwarded-Prefix"))?;
            request.extensions_mut().insert(mount);
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
