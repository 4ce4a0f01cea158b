//! The options of `fastcgi`, `scgi` and `uwsgi`. What concerns the pool of connections is the same for all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use ziggurat_middleware::options::{OneOrMany, OrFalse};
use ziggurat_middleware::units::Duration;
use ziggurat_middleware::{Finding, Findings};

use crate::upstream::{Balance, EjectOptions, Host, QueueOptions, RetryOptions, Target, defaults};

/// Variables and their values.
pub(crate) type Params = BTreeMap<String, String>;

/// An app of this module: its own options, and those of the pool, which cannot be flattened into it without losing their places in the file.
macro_rules! gateway_app {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The servers: `127.0.0.1:9000`, `app.internal:9000`, or `unix:` and the path of a socket. If a name has several addresses, each is a server of its own.
            to: OneOrMany<GatewayServer>,
            $($(#[$field_meta])* pub(super) $field: $kind,)*
            /// Further variables for the app, in place of those that the request has.
            #[serde(default)]
            pub(super) params: Params,
            /// Which server gets a request, as in [`proxy`](proxy.md).
            #[serde(default)]
            balance: Balance,
            /// The longest time to open a connection.
            #[serde(default = "defaults::connect")]
            connect: Duration,
            /// The longest time to the head of a response. The time in which the client sends its request does not count.
            #[serde(default = "defaults::timeout")]
            timeout: Duration,
            /// The longest pause in the body of a response.
            #[serde(default = "defaults::timeout")]
            idle: Duration,
            /// The most requests under way at each server. Further requests wait in the queue.
            #[serde(default = "defaults::limit")]
            #[schemars(range(min = 1))]
            limit: usize,
            /// Where requests wait while all servers are at their limit.
            #[serde(default)]
            queue: QueueOptions,
            /// Which requests are sent again after a failure; `false` for none.
            #[serde(default = "defaults::retry")]
            retry: OrFalse<RetryOptions>,
            /// When a server that fails gets no requests for a while; `false` for never.
            #[serde(default = "defaults::eject")]
            eject: OrFalse<EjectOptions>,
            /// How often names are looked up again.
            #[serde(default = "defaults::resolve")]
            resolve: Duration,
        }

        impl $name {
            pub(super) fn pool(&self) -> Pool {
                let Self { to, balance, connect, timeout, idle, limit, queue, retry, eject, resolve, .. } = self.clone();
                Pool { to, balance, connect, timeout, idle, limit, queue, retry, eject, resolve }
            }
        }
    };
}

/// The options of the pool.
pub(super) struct Pool {
    pub(super) to: OneOrMany<GatewayServer>,
    pub(super) balance: Balance,
    pub(super) connect: Duration,
    pub(super) timeout: Duration,
    pub(super) idle: Duration,
    pub(super) limit: usize,
    pub(super) queue: QueueOptions,
    pub(super) retry: OrFalse<RetryOptions>,
    pub(super) eject: OrFalse<EjectOptions>,
    pub(super) resolve: Duration,
}

gateway_app! {
    /// Passes requests on to FastCGI apps, such as PHP-FPM.
    ///
    /// With `root`, each request is for a script in this folder: the part of the path up to the first `.php`, or else `index.php` (`index`) in the folder of the path if that is there, or else the one
    /// in `root`. A `.php` that is not there is 404. If `root` is not a folder of this machine, nothing is looked up: paths without `.php` are for the `index` in `root`. Without `root`, the app is
    /// told the path alone.
    ///
    /// Each request has a connection of its own: a child of PHP-FPM whose connection is open serves nobody else. Bodies stream in both directions; a request without a known length gets 411, unless
    /// a `buffer` layer is above. What an app writes to its standard error is in the log. The client gets `502`, `503` and `504` as with [`proxy`](proxy.md), and `503` if the app says that it is
    /// overloaded. [The guide](../gateways.md#apps) has examples.
    ///
    /// ```json
    /// {
    ///   "layers": [{ "static": { "at": "/assets", "root": "public/assets" } }],
    ///   "app": { "fastcgi": { "to": "unix:/run/php/php-fpm.sock", "root": "public" } }
    /// }
    /// ```
    FastCgi {
        /// The folder of the scripts, as the app sees it. A relative path starts at the folder of the pipeline file.
        #[serde(default)]
        root: Option<String>,
        /// The script for paths that name none. By default `index.php`.
        #[serde(default)]
        index: Option<String>,
        /// How the names of scripts end. By default `.php`.
        #[serde(default)]
        split: Option<String>,
    }
}

gateway_app! {
    /// Passes requests on to apps that speak SCGI.
    ///
    /// Each request has a connection of its own. Bodies stream in both directions; a request without a known length gets 411, unless a `buffer` layer is above. The client gets `502`, `503` and
    /// `504` as with [`proxy`](proxy.md). SCGI has no mark for the end of a response: one without `Content-Length` that breaks off looks complete.
    ///
    /// ```json
    /// { "app": { "scgi": "127.0.0.1:4000" } }
    /// ```
    Scgi {}
}

gateway_app! {
    /// Passes requests on to apps that speak the uwsgi protocol, such as uWSGI.
    ///
    /// Each request has a connection of its own. Bodies stream in both directions; a request without a known length gets 411, unless a `buffer` layer is above. The client gets `502`, `503` and
    /// `504` as with [`proxy`](proxy.md). The protocol has no mark for the end of a response: one without `Content-Length` that breaks off looks complete. The variables have at most 64 KiB.
    ///
    /// ```json
    /// { "app": { "uwsgi": { "to": "127.0.0.1:3031", "params": { "UWSGI_SCHEME": "https" } } } }
    /// ```
    Uwsgi {
        /// The plugin of uWSGI that the request is for: 0 for Python.
        #[serde(default)]
        modifier1: u8,
        /// A number that some plugins take.
        #[serde(default)]
        modifier2: u8,
    }
}

/// Reports variables that are not the file's to set.
pub(crate) fn check_params(params: &Params, option: &'static str, findings: &mut Findings) {
    for (name, value) in params {
        let is_name = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
        let wrong = if !is_name {
            "is not the name of a variable"
        } else if name == "CONTENT_LENGTH" {
            "is the length of the request's body, which is known without it"
        } else if value.contains('\0') {
            "has a NUL in its value"
        } else {
            continue;
        };
        findings.push(Finding::new(format!("`{name}` {wrong}")).at(option).at(name.as_str()));
    }
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GatewayServer(pub(super) Target);

impl fmt::Display for GatewayServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for GatewayServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Target::of_socket(path).map(Self);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(format!("`{scheme}://` does not stand before the address of this app's servers\nhint: write `{rest}`"));
        }
        let no_address = || format!("`{text}` is not an address\nhint: write `host:port`, or `unix:` and the path of a socket");
        let (name, port) = text.rsplit_once(':').ok_or_else(no_address)?;
        let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("`{port}` is not a port"))?;
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-_".contains(&octet));
        match bare.unwrap_or(name).parse::<IpAddr>() {
            Ok(ip) if ip.is_ipv4() == bare.is_none() => Ok(Self(Target::of_host(Host::Ip(SocketAddr::new(ip, port))))),
            Err(_) if is_name(name) => Ok(Self(Target::of_host(Host::Name(name.to_ascii_lowercase().into(), port)))),
            _ => Err(no_address()),
        }
    }
}

impl<'de> Deserialize<'de> for GatewayServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ziggurat_middleware::options::from_text(deserializer, "the address of a server, such as \"127.0.0.1:9000\"")
    }
}

impl JsonSchema for GatewayServer {
    fn schema_name() -> Cow<'static, str> {
        "GatewayServer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A host and a port, or `unix:` with the path of a socket.",
            "examples": ["127.0.0.1:9000", "app.internal:9000", "unix:/run/php/php-fpm.sock"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_are_written() {
        for text in ["127.0.0.1:9000", "[::1]:80", "app.internal:80", "unix:run/app.sock"] {
            assert_eq!(text.parse::<GatewayServer>().unwrap().0.to_string(), text);
        }
        for text in ["9000", "127.0.0.1", "127.0.0.1:0", "::1:80", "[127.0.0.1]:80", "a b:80", ":80", "unix:", "fcgi://a:80", "a:99999"] {
            assert!(text.parse::<GatewayServer>().is_err(), "{text}");
        }
    }
}
