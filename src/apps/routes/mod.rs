//! `routes`: chooses the app by the request. The first route whose condition holds takes it.

mod mount;
mod table;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use tower::util::Oneshot;
use tower::{Service, ServiceExt};
use ziggurat_middleware::trace::Trace;
use ziggurat_middleware::{Deadline, Next, Request, ReserveClass, Response};

use super::matching::RequestView;
pub(crate) use table::{Route, Table};

/// The service over a table of routes.
#[derive(Clone, Debug)]
pub(crate) struct Routes(Arc<Table<Target>>);

/// What a route leads to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) deadline: Option<Deadline>,
    pub(crate) reserve: Option<ReserveClass>,
    pub(crate) next: Next,
}

impl Routes {
    pub(crate) fn new(table: Table<Target>) -> Self {
        Self(Arc::new(table))
    }
}

impl Service<Request> for Routes {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Oneshot<Next, Request>, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Which app must be ready is known with the request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let view = RequestView::new(&request);
        if tracing::enabled!(tracing::Level::TRACE) {
            self.0.passed(&view).for_each(|(nth, key)| tracing::trace!(route = nth + 1, "no match: {key}"));
        }
        let decision = self.0.decide(&view);
        if let (Ok(decision), Some(taken)) = (&decision, Trace::of(request.extensions()).and_then(Trace::route)) {
            decision.note(&view, taken);
        }
        let target = match decision {
            Ok(decision) => decision.enter(&mut request),
            Err(refusal) => return Either::Right(ready(Ok(refusal.problem().into_response()))),
        };
        // The innermost route that says one counts.
        if let Some(deadline) = target.deadline {
            request.extensions_mut().insert(deadline);
        }
        if let Some(class) = target.reserve {
            request.extensions_mut().insert(class);
        }
        Either::Left(target.next.clone().oneshot(request))
    }
}
