//! An HTTP client for layers that ask other servers: for a decision, for keys, for a token.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Service, ServiceExt};

use crate::service::{AnyBody, CloneService};
use crate::{Body, BoxError, Finding, Request, Response, Result};

/// A fact of a request to another server: it goes to this Unix socket, whatever host its URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket(pub Arc<Path>);

/// Sends requests to other servers. A layer gets it from [`Context::client`](crate::Context::client).
///
/// This crate knows no sockets: the program that runs the stack leaves a `Client` with its [`Lifecycle`](crate::Lifecycle), and a test leaves a double.
/// The program `ziggurat` leaves one that reuses connections, follows no redirects, and has pools of its own for up to 64 servers. A request has an absolute URI (`https://auth.internal/check`), and its `Host` header follows from that. One with the
/// fact [`UnixSocket`] goes to that socket instead. The layer bounds the time, for instance with [`tower::timeout`], and what it reads of the body.
///
/// ```
/// use http::StatusCode;
/// use schemars::JsonSchema;
/// use serde::Deserialize;
/// use tower::service_fn;
/// use ziggurat_middleware::{Body, BoxError, Client, Context, IntoStage, Middleware, Next, Problem, Request, Response, Result, TestStack, from_fn};
///
/// /// Asks another server whether a request may pass.
/// #[derive(Deserialize, JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Ask {
///     /// The URL that is asked.
///     url: String,
/// }
///
/// impl Middleware for Ask {
///     const NAME: &'static str = "ask";
///     const SHORTHAND: Option<&'static str> = Some("url");
///
///     fn layer(self, context: &Context) -> Result<impl IntoStage> {
///         let url: http::Uri = self.url.parse()?;
///         Ok(from_fn((context.client()?, url), async |(client, url), request: Request, next: Next| {
///             let mut question = Request::new(Body::empty());
///             *question.uri_mut() = url;
///             match client.send(question).await {
///                 Ok(answer) if answer.status().is_success() => next.run(request).await,
///                 Ok(answer) => answer,
///                 Err(error) => Problem::new(StatusCode::BAD_GATEWAY).because(error).into_response(),
///             }
///         }))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// // In place of the other server:
/// let refuses = Client::new(service_fn(async |question: Request| {
///     assert_eq!(question.uri(), "http://auth.test/check");
///     let mut answer = Response::new(Body::empty());
///     *answer.status_mut() = StatusCode::FORBIDDEN;
///     Ok::<_, BoxError>(answer)
/// }));
/// let stack = TestStack::of::<Ask>(r#""http://auth.test/check""#).host(refuses).over_text("the app");
/// assert_eq!(stack.get("/").await.status(), 403);
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    send: Arc<dyn Fn(Request) -> ClientFuture + Send + Sync>,
    /// Makes a client that trusts the authorities in a file.
    trusting: Option<MakeTrusting>,
}

type MakeTrusting = Arc<dyn Fn(&Path) -> Result<Client> + Send + Sync>;

/// The answer of another server on its way.
pub type ClientFuture = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

impl Client {
    /// The client that sends requests by this service.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request, Response = http::Response<B>, Error: Into<BoxError>, Future: Send + 'static>
            + CloneService
            + Send
            + Sync
            + 'static,
        B: AnyBody,
    {
        let send = move |request| -> ClientFuture {
            let sent = service.clone().oneshot(request);
            Box::pin(async move { Ok(sent.await.map_err(Into::into)?.map(Body::new)) })
        };
        Self { send: Arc::new(send), trusting: None }
    }

    /// Sets how [`Client::trusting`] makes its client.
    #[must_use]
    pub fn with_trusting(self, make: impl Fn(&Path) -> Result<Self> + Send + Sync + 'static) -> Self {
        Self { trusting: Some(Arc::new(make)), ..self }
    }

    /// A client with pools of its own that trusts, for `https`, the authorities in this PEM file and no others.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used, or that the program knows no such clients.
    pub fn trusting(&self, authorities: &Path) -> Result<Self> {
        let make = self.trusting.as_ref();
        let make = make.ok_or_else(|| Finding::new("the HTTP client of this program cannot be told whom to trust"))?;
        // Where the file is named is up to the layer.
        make(authorities).map_err(|finding| Finding { path: Vec::new(), ..finding })
    }

    /// Sends a request. The future gives the head of the response; the body follows.
    ///
    /// # Errors
    ///
    /// Why there is no response: the server cannot be reached, or it answered with something that is not HTTP.
    pub fn send(&self, request: Request) -> ClientFuture {
        (self.send)(request)
    }
}

/// For tower's layers, such as a timeout around the client.
impl Service<Request> for Client {
    type Response = Response;
    type Error = BoxError;
    type Future = ClientFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ClientFuture {
        self.send(request)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tower::service_fn;
    use tower::timeout::Timeout;

    use super::*;

    #[test]
    fn whom_a_client_trusts_is_up_to_the_program() {
        let plain = || Client::new(service_fn(async |_: Request| Err::<Response, _>(BoxError::from("nobody"))));
        assert!(plain().trusting(Path::new("ca.pem")).unwrap_err().message.contains("cannot be told"));
        let client = plain().with_trusting(move |path| match path.to_str() {
            Some("ca.pem") => Ok(plain()),
            _ => Err(Finding::new("no such file").at("tls")),
        });
        assert!(client.trusting(Path::new("ca.pem")).is_ok());
        assert!(client.trusting(Path::new("other.pem")).unwrap_err().path.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn towers_layers_stand_around_a_client() {
        let silent = Client::new(service_fn(async |_: Request| std::future::pending::<Result<Response, BoxError>>().await));
        let asked = Timeout::new(silent, Duration::from_secs(1)).oneshot(Request::new(Body::empty())).await;
        assert!(asked.unwrap_err().is::<tower::timeout::error::Elapsed>());
    }
}
