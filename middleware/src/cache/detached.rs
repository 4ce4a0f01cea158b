//! A call of the app that outlives its client while others wait for the response.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use tokio::runtime::Handle;

use super::flight::Flight;
use crate::{Context, Response};

type Fetch = Pin<Box<dyn Future<Output = Response> + Send>>;

/// The call, as part of the request of its client. When that is dropped while others wait, a task goes on with the call until nobody waits.
pub(super) struct Detached {
    fetch: Option<Fetch>,
    flight: Arc<Flight>,
    context: Context,
}

impl Detached {
    pub(super) const fn new(fetch: Fetch, flight: Arc<Flight>, context: Context) -> Self {
        Self { fetch: Some(fetch), flight, context }
    }
}

impl Future for Detached {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Response> {
        let Some(fetch) = &mut self.fetch else { return Poll::Pending };
        let response = ready!(fetch.as_mut().poll(cx));
        self.fetch = None;
        Poll::Ready(response)
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let Some(fetch) = self.fetch.take() else { return };
        if self.flight.waiting() == 0 || Handle::try_current().is_err() {
            return;
        }
        let flight = Arc::clone(&self.flight);
        self.context.spawn(async move {
            tokio::select! {
                _ = fetch => {}
                () = flight.abandoned() => {}
            }
        });
    }
}
