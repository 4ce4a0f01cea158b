//! The service of the apps that pass requests on, to other servers or programs.

use std::future::Future;
use std::sync::Arc;

use http::{Method, StatusCode};
use tower::service_fn;
use ziggurat_middleware::{BoxError, IntoApp, Problem, Request, Response};

/// Serves requests with a function of the app. CONNECT is refused: no app opens tunnels to where a client wants.
pub(super) fn service<A, F>(app: A, serve: impl Fn(Arc<A>, Request) -> F + Clone + Send + Sync + 'static) -> impl IntoApp
where
    A: Send + Sync + 'static,
    F: Future<Output = Result<Response, BoxError>> + Send + 'static,
{
    let app = Arc::new(app);
    service_fn(move |request: Request| {
        let served = (request.method() != Method::CONNECT).then(|| serve(Arc::clone(&app), request));
        async move {
            match served {
                Some(served) => served.await,
                None => Err(Problem::new(StatusCode::NOT_IMPLEMENTED).detail("CONNECT is not served here").into()),
            }
        }
    })
}
