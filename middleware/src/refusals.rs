//! The log of refusals, which come by the thousand when many clients abort uploads or an app is overloaded.

use http::StatusCode;

use crate::{Place, RequestSummary, Summary};

/// The refusals of one layer or app. The first one with a status is logged. Those of the next seconds are counted, and one line tells their number.
pub(crate) struct Refusals {
    place: Place,
    counted: Summary<StatusCode>,
}

impl Refusals {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, counted: Summary::default() }
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// Logs a problem. One that says that clients are at fault, or too many, is counted if such a one was logged a short time ago.
    pub(crate) fn log(&self, status: StatusCode, request: Option<&RequestSummary>, cause: String) {
        let is_refusal = status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE;
        if is_refusal && !self.begins(status, &cause) {
            return;
        }
        let (request_id, request) = (request.and_then(RequestSummary::id), request.map(tracing::field::display));
        let (place, status) = (self.place.as_str(), status.as_u16());
        // A client's mistake is no error of the server.
        match status {
            ..500 => tracing::warn!(request_id, request, place, status, "{cause}"),
            _ => tracing::error!(request_id, request, place, status, "{cause}"),
        }
    }

    fn begins(&self, status: StatusCode, cause: &str) -> bool {
        let place = self.place.clone();
        let sum_up = move |count, latest, seconds| {
            let (place, status) = (place.as_str(), status.as_u16());
            tracing::warn!(
                place,
                status,
                count,
                "{count} more requests were refused within {seconds} s, the last one for this reason: {latest}"
            );
        };
        self.counted.begins(status, || cause.to_owned(), sum_up)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;
    use tower::layer::layer_fn;
    use tower::service_fn;

    use super::*;
    use crate::{Next, Problem, Request, Response, TestStack};

    #[tokio::test(start_paused = true)]
    async fn a_thousand_refusals_are_two_lines_in_the_log() {
        let full = || Problem::new(StatusCode::SERVICE_UNAVAILABLE).because("the queue is full");
        let busy = layer_fn(move |_: Next| service_fn(move |_: Request| std::future::ready(Err::<Response, _>(full()))));
        let stack = TestStack::stage(busy).over_text("never");
        for _ in 0..1_000 {
            assert_eq!(stack.get("/").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        sleep(Duration::from_secs(30)).await;
        let log = stack.log();
        assert_eq!(log.len(), 2, "{log:?}");
        assert!(log[0].ends_with("the queue is full") && log[1].contains("count=999") && log[1].contains("999 more requests"), "{log:?}");
        assert_eq!(stack.get("/").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(stack.log().len(), 3);
    }
}
