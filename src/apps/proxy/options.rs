//! The options of `proxy`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::HeaderValue;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use ziggurat_middleware::Scheme;
use ziggurat_middleware::options::{OneOrMany, OrFalse};
use ziggurat_middleware::units::Duration;

use crate::proxy_protocol::ProxyProtocol;
use crate::upstream::http::HttpVersion;
use crate::upstream::{Balance, EjectOptions, HealthOptions, QueueOptions, RetryOptions, StickyOptions, Target, TlsOptions, defaults};

/// Passes requests on to other HTTP servers, and their responses back.
///
/// Bodies stream in both directions. Each request goes to one of the healthy servers. If it fails before the response has begun, it is sent to another server where that is safe.
/// WebSockets pass through in any version of HTTP, other upgrades over HTTP/1.1, but not through a Python layer above. `ziggurat status` and the metrics show each server.
///
/// The client gets `502` if no server gives a valid response, `504` if a server takes too long, and `503` with `Retry-After` if no server is healthy or all are at their limit for longer
/// than the queue allows. The log names the server, the phase and the cause. A response that breaks off is broken off for the client, too.
///
/// Hop-by-hop headers (RFC 9110 section 7.6.1) do not pass, in either direction. Below a `mount`, the server sees the path without the prefix, and the prefix in `X-Forwarded-Prefix`.
/// [The guide](../proxy.md) goes from one server to a balanced pool.
///
/// ```json
/// {
///   "app": { "proxy": {
///     "to": ["http://10.0.0.5:9000", { "at": "http://10.0.0.6:9000", "weight": 2 }],
///     "health": { "path": "/healthz" },
///     "timeout": "30s"
///   } }
/// }
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// The servers: URLs such as `http://10.0.0.5:9000`, or `unix:` and the path of a socket. The path of a URL (`https://api.internal/v2`) is put before the path of each request. If a name has
    /// several addresses, each is a server of its own.
    pub(super) to: OneOrMany<Server>,
    /// Which server gets a request: `least_requests` (the less busy of two random servers), `round_robin`, `random`, or `{ "hash": ... }` of `client` (the address), `path`,
    /// `header:NAME`, `cookie:NAME` or `query:NAME`. With a hash, requests with the same value go to the same server, and a server that comes or goes moves only its own share. Requests
    /// without the value are balanced by `least_requests`.
    #[serde(default)]
    pub(super) balance: Balance,
    /// A cookie that sends a client to the server that answered it before. If that server is not healthy, is gone or fails, the client gets another one and a new cookie. If it is only at its
    /// `limit`, another one answers, and the cookie stays.
    #[serde(default)]
    pub(super) sticky: Option<StickyOptions>,
    /// The `Host` that servers see: `keep` (that of the client), `upstream` (that of the server's URL), or a name.
    #[serde(default)]
    pub(super) host: HostPolicy,
    /// The version of HTTP: `1.1`, `2` (over `http` by prior knowledge, as gRPC servers expect), or `auto` (2 if an `https` server offers it, else 1.1).
    #[serde(default)]
    pub(super) http: Version,
    /// The longest time to open a connection, TLS included.
    #[serde(default = "defaults::connect")]
    pub(super) connect: Duration,
    /// The longest time to the head of a response. The time in which the client sends its request does not count.
    #[serde(default = "defaults::timeout")]
    pub(super) timeout: Duration,
    /// The longest pause in the body of a response, and the longest silence of both sides of a WebSocket.
    #[serde(default = "defaults::timeout")]
    pub(super) idle: Duration,
    /// The most requests under way at each server, WebSockets included. Further requests wait in the queue.
    #[serde(default = "defaults::limit")]
    #[schemars(range(min = 1))]
    pub(super) limit: usize,
    /// Where requests wait while all servers are at their limit.
    #[serde(default)]
    pub(super) queue: QueueOptions,
    /// Which requests are sent again after a failure; `false` for none. Two kinds are always sent again: requests that an HTTP/2 server refused without processing them, and idempotent
    /// requests on a connection that the server closed at the same moment.
    #[serde(default = "defaults::retry")]
    pub(super) retry: OrFalse<RetryOptions>,
    /// Health checks. By default there are none, and `eject` judges by the responses to clients.
    #[serde(default)]
    pub(super) health: Option<HealthOptions>,
    /// When a server that fails gets no requests for a while; `false` for never.
    #[serde(default = "defaults::eject")]
    pub(super) eject: OrFalse<EjectOptions>,
    /// How often names are looked up again. A server that cannot be reached causes a look-up, too.
    #[serde(default = "defaults::resolve")]
    pub(super) resolve: Duration,
    /// TLS to servers with an `https` URL.
    #[serde(default)]
    pub(super) tls: Option<TlsOptions>,
    /// The headers that tell servers about the client: `x-forwarded` (`X-Forwarded-For`, `-Proto` and `-Host`, below a mount `-Prefix`, and `-Port` if a `forwarded` layer was told one), `forwarded` (RFC 7239), or `none`. Such headers of the client do not
    /// pass. Behind another proxy, the `forwarded` layer decides whom to trust.
    #[serde(default)]
    pub(super) forward: Forward,
    /// The PROXY protocol header that tells servers about the client at the beginning of a connection: `v1` or `v2`. Each request then has a connection of its own, over HTTP/1.1. A health check has a header
    /// that names no client.
    #[serde(default)]
    pub(super) proxy_protocol: Option<ProxyProtocol>,
}

/// A server and its weight.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) at: Target,
    pub(super) weight: u32,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)
    }
}

impl Server {
    pub(super) fn is_encrypted(&self) -> bool {
        self.at.scheme == Scheme::Https
    }

    pub(super) fn into_target(self) -> (Target, u32) {
        (self.at, self.weight)
    }
}

/// A server with a weight of its own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Weighted {
    /// The URL.
    at: Target,
    /// The server's share of the requests, relative to the other weights. A server with weight 0 gets only requests whose sticky cookie names it, so it can be drained before it is removed.
    #[serde(default = "one")]
    #[schemars(range(max = 1000))]
    weight: u32,
}

const fn one() -> u32 {
    1
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = Server;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the URL of a server, or an object with `at` and `weight`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Server, E> {
                text.parse().map(|at| Server { at, weight: one() }).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Server, A::Error> {
                Weighted::deserialize(MapAccessDeserializer::new(map)).map(|Weighted { at, weight }| Server { at, weight })
            }
        }

        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for Server {
    fn schema_name() -> Cow<'static, str> {
        "ProxyServer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (url, weighted) = (generator.subschema_for::<Target>(), generator.subschema_for::<Weighted>());
        json_schema!({ "anyOf": [url, weighted] })
    }
}

/// The `Host` of requests to servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum HostPolicy {
    #[default]
    Keep,
    Upstream,
    Fixed(HeaderValue),
}

impl HostPolicy {
    pub(super) const fn fixed(&self) -> Option<&HeaderValue> {
        match self {
            Self::Fixed(host) => Some(host),
            Self::Keep | Self::Upstream => None,
        }
    }
}

impl FromStr for HostPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "upstream" => Ok(Self::Upstream),
            name => {
                let authority = name.parse::<http::uri::Authority>().ok().filter(|authority| !authority.as_str().contains('@'));
                let host = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
                host.map(Self::Fixed)
                    .ok_or_else(|| format!("`{name}` is not a host\nhint: write `keep`, `upstream`, or a host such as `app.internal:8000`"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for HostPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ziggurat_middleware::options::from_text(deserializer, "`keep`, `upstream` or a host")
    }
}

impl JsonSchema for HostPolicy {
    fn schema_name() -> Cow<'static, str> {
        "ProxyHost".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["keep", "upstream", "app.internal"] })
    }
}

/// The version of HTTP to servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum Version {
    #[serde(rename = "1.1")]
    Http1,
    #[serde(rename = "2")]
    Http2,
    #[default]
    #[serde(rename = "auto")]
    Auto,
}

impl From<Version> for HttpVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::Http1 => Self::Http1,
            Version::Http2 => Self::Http2,
            Version::Auto => Self::Auto,
        }
    }
}

impl Version {
    pub(super) fn alpn(self) -> &'static [&'static [u8]] {
        HttpVersion::from(self).alpn()
    }
}

/// The headers that tell servers about the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Forward {
    #[default]
    XForwarded,
    Forwarded,
    None,
}
