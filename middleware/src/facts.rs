//! Facts about a request that the server and the layers above have determined. They are extensions of the request.
//!
//! The layers below and the app read these facts instead of headers, which every client can send. A fact that a layer below determines for a layer above (the
//! user, for the access log) is an extension of the *response*, under the same type.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use http::{Extensions, HeaderValue, StatusCode, Uri};

/// The client, the scheme and the address of the listener. The server sets it in every request; `forwarded` corrects it behind a proxy.
///
/// A layer that acts on the client's address says so with [`Behavior::NeedsConnectionInfo`](crate::Behavior::NeedsConnectionInfo):
///
/// ```
/// use http::StatusCode;
/// use ziggurat_middleware::{ConnectionInfo, IntoStage, Problem, Request, Response, TestStack, around};
///
/// /// Lets only clients of this machine through.
/// fn local_only() -> impl IntoStage {
///     around(|request: &mut Request| {
///         let client = request.extensions().get::<ConnectionInfo>().and_then(|connection| connection.client);
///         match client {
///             Some(client) if client.is_loopback() => Ok(|response: Response| response),
///             _ => Err(Problem::new(StatusCode::FORBIDDEN)),
///         }
///     })
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let stack = TestStack::stage(local_only()).over_text("the app");
/// assert_eq!(stack.get("/").await.status(), 403); // a test's client is 192.0.2.1
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The client's address; `None` for a client on a Unix socket.
    pub client: Option<IpAddr>,
    /// The client's port, if it is known.
    pub client_port: Option<u16>,
    /// The scheme that the client uses, as a trusted proxy says or else as the connection is.
    pub scheme: Scheme,
    /// The port that the client uses, if a trusted proxy says so. Otherwise it is the port of the `Host` header, or of `local`.
    pub server_port: Option<u16>,
    /// The address of the listener; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// Whether a `forwarded` layer has checked the headers in which proxies describe the client. Otherwise apps and upstream servers do not see these headers, because
    /// every client can send them.
    pub is_vetted: bool,
}

/// `http` or `https` (RFC 9110 section 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
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

/// The id of a request. It is in the `X-Request-Id` header and in every log line about the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// An id of visible ASCII; `None` for any other value.
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

/// The user, as an authentication layer has determined it. Only such a layer sets it, never a header of the request (RFC 3875 section 4.1.11).
///
/// The layer sets it in the request for the layers below and the app, and in the response for the layers above, such as the access log:
///
/// ```
/// use http::StatusCode;
/// use ziggurat_middleware::{IntoStage, Next, Problem, RemoteUser, Request, TestStack, from_fn};
///
/// /// Lets everybody in who has the token.
/// fn token() -> impl IntoStage {
///     from_fn("s3cr3t", async |token, mut request: Request, next: Next| {
///         if request.headers().get("x-token").is_none_or(|sent| sent != token) {
///             return Problem::new(StatusCode::UNAUTHORIZED).into_response();
///         }
///         let user = RemoteUser { user: "robot".into(), auth_type: "Token".into() };
///         request.extensions_mut().insert(user.clone());
///         let mut response = next.run(request).await;
///         response.extensions_mut().insert(user);
///         response
///     })
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let stack = TestStack::stage(token()).over_text("the app");
/// assert_eq!(stack.get("/").header("x-token", "s3cr3t").await.head().extensions().get::<RemoteUser>().unwrap().user.as_ref(), "robot");
/// assert_eq!(stack.get("/").await.status(), 401);
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUser {
    /// The name: `REMOTE_USER`.
    pub user: Arc<str>,
    /// The scheme: `AUTH_TYPE`, for instance `Basic`.
    pub auth_type: Cow<'static, str>,
}

/// A layer has let the request pass because of who its client is, and names no user. It may have told the app in headers of its own, which no `Vary` lists, so `cache` takes the response for one that is for this client. A
/// layer that names the user sets [`RemoteUser`] instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// The scheme: `AUTH_TYPE`, for instance `ForwardAuth`.
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

/// The status that a layer answers with when it stops waiting for the layers below, which then drop the request. Such a layer sets the fact in the request, and the
/// status before it drops the future of the response: a log below then knows that it was not the client who has gone.
#[derive(Clone, Debug, Default)]
pub struct EarlyAnswer(Arc<OnceLock<StatusCode>>);

impl EarlyAnswer {
    /// The status, once the layer has answered.
    #[must_use]
    pub fn get(&self) -> Option<StatusCode> {
        self.0.get().copied()
    }

    /// States the status. The first one counts.
    pub fn set(&self, status: StatusCode) {
        let _ = self.0.set(status);
    }
}

/// The prefix at which the app is mounted. A route with `mount` sets it when it removes the prefix from the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// All prefixes that were removed so far, percent-encoded as in the request target. Decoded, it is `SCRIPT_NAME`.
    pub prefix: Arc<str>,
    /// The request target before any prefix was taken off: `prefix` and the target of the request.
    pub target: Uri,
}

/// The time until the app must begin its response. A route sets it; an inner route overrides an outer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub std::time::Duration);

/// The route with a `reserve` that the request came by. The request may use the threads of an app that this route reserves
/// ([`Context::reserves`](crate::Context::reserves)). A route sets it; an inner route overrides an outer one. Numbers count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReserveClass(pub u32);
