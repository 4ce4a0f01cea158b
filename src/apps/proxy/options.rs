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

use crate::upstream::http::HttpVersion;
use crate::upstream::{Balance, EjectOptions, HealthOptions, QueueOptions, RetryOptions, StickyOptions, Target, TlsOptions};

/// Passes requests on to other HTTP servers and their answers back.
///
/// Requests and answers stream both ways. The server is chosen for each request from those that are well; a request that fails before its answer began is sent to another one where
/// that is safe. WebSockets and other upgrades of HTTP/1.1 pass through. `ziggurat status` and the metrics show each server.
///
/// A client gets `502` where no server answers properly, `504` where one takes too long, and `503` with `Retry-After` where all are at their `limit` and the queue is full, or none is well.
/// The log says which server failed, at what, and why. An answer that breaks off is broken off for the client too.
///
/// Headers that belong to a connection (`Connection`, what it names, and the like; RFC 9110 section 7.6.1) end here, both ways. A `mount` above is taken off the path and told in
/// `X-Forwarded-Prefix`. [The guide](../proxy.md) goes from one server to a balanced pool.
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
    /// The servers: URLs such as `http://10.0.0.5:9000` or `https://api.internal/v2`, whose path is put before that of each request, or `unix:` and the path of a socket. Every address of a
    /// name is a server of its own.
    pub(super) to: OneOrMany<Server>,
    /// Who gets a request: `least_requests` (of two servers chosen at random the one with fewer requests under way), `round_robin`, `random`, or `{ "hash": ... }` of `client` (its address), `path`,
    /// `header:NAME`, `cookie:NAME` or `query:NAME`. With a hash, requests with the same value go to the same server, and when a server comes or goes only its share moves; requests
    /// without the value go where fewest are under way.
    #[serde(default)]
    pub(super) balance: Balance,
    /// A cookie that brings a client back to the server that answered it before. If that server is not well the client gets another one, and its cookie is rewritten.
    #[serde(default)]
    pub(super) sticky: Option<StickyOptions>,
    /// The `Host` that servers see: `keep` (that of the client), `upstream` (that of the server's URL), or a name.
    #[serde(default)]
    pub(super) host: HostPolicy,
    /// The version of HTTP: `1.1`, `2` (without TLS by prior knowledge, which gRPC servers expect), or `auto` (2 where an `https` server offers it, else 1.1).
    #[serde(default)]
    pub(super) http: Version,
    /// How long opening a connection may take, TLS included.
    #[serde(default = "connect")]
    pub(super) connect: Duration,
    /// How long a server may take until the head of its answer. The time that the client needs to send the request does not count.
    #[serde(default = "timeout")]
    pub(super) timeout: Duration,
    /// How long a server may say nothing in the middle of an answer, and how long both sides of a WebSocket may be silent.
    #[serde(default = "timeout")]
    pub(super) idle: Duration,
    /// How many requests, WebSockets included, each server has under way at most. More wait in the queue.
    #[serde(default = "limit")]
    #[schemars(range(min = 1))]
    pub(super) limit: usize,
    /// Where requests wait while all servers are at their limit.
    #[serde(default)]
    pub(super) queue: QueueOptions,
    /// Requests that are sent again after a failure; `false` for none. (A request that meets a kept connection just as the server closes it is always sent again if its method may be
    /// repeated, and so is one that an HTTP/2 server refused without processing it.)
    #[serde(default = "retry")]
    pub(super) retry: OrFalse<RetryOptions>,
    /// Requests that tell whether a server is well. By default there are none, and `eject` judges by the answers to clients.
    #[serde(default)]
    pub(super) health: Option<HealthOptions>,
    /// When a server that fails is left alone for a while; `false` for never.
    #[serde(default = "eject")]
    pub(super) eject: OrFalse<EjectOptions>,
    /// How often names are looked up again. They are also looked up when a server cannot be reached.
    #[serde(default = "resolve")]
    pub(super) resolve: Duration,
    /// TLS to servers with an `https` URL.
    #[serde(default)]
    pub(super) tls: Option<TlsOptions>,
    /// How servers hear of the client: `x-forwarded` (`X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix`), `forwarded` (RFC 7239), or `none`. What the client itself says in such headers never passes;
    /// behind another proxy the `forwarded` layer decides whom to believe.
    #[serde(default)]
    pub(super) forward: Forward,
}

const fn connect() -> Duration {
    Duration::secs(3)
}

const fn timeout() -> Duration {
    Duration::secs(60)
}

const fn limit() -> usize {
    256
}

const fn resolve() -> Duration {
    Duration::secs(10)
}

fn retry() -> OrFalse<RetryOptions> {
    OrFalse(Some(RetryOptions::default()))
}

fn eject() -> OrFalse<EjectOptions> {
    OrFalse(Some(EjectOptions::default()))
}

/// A server and its weight.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) at: Target,
    pub(super) weight: u32,
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
    /// Its share of the requests, compared with that of the others. A server with weight 0 gets only requests whose sticky cookie names it: to empty it before it is removed.
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
        crate::apps::from_text(deserializer, "`keep`, `upstream` or a host")
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

/// The version of HTTP that servers are spoken to in.
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

/// How servers hear of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Forward {
    #[default]
    XForwarded,
    Forwarded,
    None,
}
