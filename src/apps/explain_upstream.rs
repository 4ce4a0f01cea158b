//! What apps with servers behind them say of a request.

use std::fmt::Display;

use http::StatusCode;
use ziggurat_middleware::units::Duration;
use ziggurat_middleware::{Deadline, Explain};

use crate::upstream::{Balance, QueueOptions};

/// The servers and the bounds of an app, as far as a request meets them.
pub(super) struct Servers<'a, S> {
    pub(super) to: &'a [S],
    pub(super) balance: &'a Balance,
    pub(super) limit: usize,
    pub(super) queue: QueueOptions,
    pub(super) timeout: Duration,
}

impl<S: Display> Servers<'_, S> {
    /// Which server gets the request, and what the client gets if none answers.
    pub(super) fn tell(&self, explain: &mut Explain<'_>) {
        let names: Vec<String> = self.to.iter().map(|server| format!("`{server}`")).collect();
        explain.note(match names.as_slice() {
            [one] => format!("passes the request on to {one}"),
            several => format!("passes the request on to one of {}: {}", several.join(", "), self.balance),
        });
        explain.may_answer(StatusCode::BAD_GATEWAY, "if no server gives a valid response");
        let QueueOptions { limit: waiting, .. } = self.queue;
        let wait = Duration(self.queue.wait());
        explain.may_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            match waiting {
                0 => format!("if {} requests are under way at each server", self.limit),
                _ => format!(
                    "if {} requests are under way at each server, and {waiting} wait already or the wait is longer than {wait}",
                    self.limit
                ),
            },
        );
        let of_route = explain.request().extensions().get::<Deadline>().map(|deadline| Duration(deadline.0));
        let timeout = of_route.map_or(self.timeout, |deadline| if deadline.0 < self.timeout.0 { deadline } else { self.timeout });
        explain.may_answer(StatusCode::GATEWAY_TIMEOUT, format!("if no response begins within {timeout}"));
    }
}
