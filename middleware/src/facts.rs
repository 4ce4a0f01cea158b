//! What the server and the outer layers found out about a request, carried in its extensions.
//!
//! Inner layers and the app read these facts instead of guessing from headers. A fact that an inner layer finds and an outer one
//! wants (who signed in, for the access log) travels back in the *response's* extensions under the same type.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{Extensions, HeaderValue, Uri};

use crate::metrics::Counter;

/// Who speaks, by which scheme, to which of our addresses. The server puts it into every request; `forwarded` corrects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The client's address; `None` for a client on a Unix socket.
    pub client: Option<IpAddr>,
    /// The client's port, where it is known.
    pub client_port: Option<u16>,
    /// The scheme the client used, as far as anyone trusted says.
    pub scheme: Scheme,
    /// The port the client addressed, where a trusted proxy says so (it is otherwise that of the `Host` header or of `local`).
    pub server_port: Option<u16>,
    /// The listener's own address; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// Whether a `forwarded` layer has judged the headers in which proxies speak of the client. Where none has, apps do not see them: anybody
    /// may have written them.
    pub is_vetted: bool,
}

/// How many octets have passed through an upgraded connection. In the extensions of a 101; counted while the connection lasts.
#[derive(Clone, Debug, Default)]
pub struct TunnelOctets(Arc<[Counter; 2]>);

impl TunnelOctets {
    /// From the client.
    #[must_use]
    pub fn received(&self) -> &Counter {
        &self.0[0]
    }

    /// To the client.
    #[must_use]
    pub fn sent(&self) -> &Counter {
        &self.0[1]
    }
}

/// `http` or `https` (RFC 9110 section 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Clear text.
    #[default]
    Http,
    /// TLS, here or at a trusted proxy.
    Https,
}

impl Scheme {
    /// `"http"` or `"https"`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// 80 or 443.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The id of a request, as it stands in the `X-Request-Id` header and in every log line about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Takes an id of visible ASCII; `None` for anything else.
    #[must_use]
    pub fn new(value: HeaderValue) -> Option<Self> {
        value.to_str().is_ok().then_some(Self(value))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header value.
    #[must_use]
    pub const fn as_header(&self) -> &HeaderValue {
        &self.0
    }
}

/// Who an authentication layer found the client to be. Set by such a layer only, never from a header (RFC 3875 section 4.1.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUser {
    /// `REMOTE_USER`.
    pub user: Arc<str>,
    /// `AUTH_TYPE`, for instance `Basic`.
    pub auth_type: Cow<'static, str>,
}

/// The request target as the client sent it: set by the first layer that changes the target. The access log shows it, and apps read it as `REQUEST_URI`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalUri(pub Uri);

impl OriginalUri {
    /// The target that the client sent, of a request with this target and these extensions.
    #[must_use]
    pub fn of<'a>(uri: &'a Uri, extensions: &'a Extensions) -> &'a Uri {
        match (extensions.get::<Self>(), extensions.get::<Mount>()) {
            (Some(original), _) => &original.0,
            (None, Some(mount)) => &mount.target,
            (None, None) => uri,
        }
    }
}

/// Where the app below is mounted: set when a route's `mount` took a prefix off the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// All prefixes taken off so far, as they stood in the request target; `SCRIPT_NAME` before decoding.
    pub prefix: Arc<str>,
    /// The request target before any prefix was taken off: `prefix` and the target of the request.
    pub target: Uri,
}

/// How long the app may take until it begins its answer. A route puts it into the request; that of an inner route stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub std::time::Duration);

/// By which route with a `reserve` the request came: it may use the threads that this route keeps of an app
/// ([`Context::reserves`](crate::Context::reserves)). A route puts it into the request; that of an inner route stands. Numbers count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReserveClass(pub u32);

/// How long an upgraded connection may be silent in both directions (RFC 9110 section 7.8). An app that accepts an upgrade puts it into the extensions
/// of its 101 response. Without it the server closes the connection after its `keep_alive` time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelIdle(pub std::time::Duration);
