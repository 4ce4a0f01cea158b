//! What the bridge says of a request: where Python begins, and what bounds the call.

use http::StatusCode;
use ziggurat_middleware::units::Duration;
use ziggurat_middleware::{Deadline, Explain, ReserveClass};

use super::options::Workers;
use super::{Wsgi, WsgiLayer};
use crate::cgi::script_and_path;

/// A fact of requests that are inside a worker already.
#[derive(Clone, Copy)]
struct InWorker;

impl Wsgi {
    /// What becomes of a request.
    pub(super) fn tell(&self, explain: &mut Explain<'_>) {
        let is_inside = explain.request().extensions().get::<InWorker>().is_some();
        if !is_inside {
            self.tell_threads(explain);
        }
        explain.note(format!("calls `{}`: {}", self.app, script_and_path(explain.request())));
        if !is_inside {
            self.tell_bounds(explain);
        }
    }

    /// The processes and threads that Python begins in.
    fn tell_threads(&self, explain: &mut Explain<'_>) {
        let threads = plural(self.threads, "thread");
        explain.note(match self.workers {
            Workers::Auto => format!("Python begins here: one worker process per core, {threads} each"),
            Workers::Number(0) => format!("Python begins here: {threads} of the server's process"),
            Workers::Number(number) => format!("Python begins here: {}, {threads} each", plural(number, "worker process")),
        });
    }

    fn tell_bounds(&self, explain: &mut Explain<'_>) {
        let class = explain.request().extensions().get::<ReserveClass>().copied();
        let reserves = explain.context().reserves();
        for reserve in reserves {
            let threads = plural(reserve.threads as u64, "thread");
            explain.note(if class == Some(reserve.class) {
                format!("{threads} are reserved for requests of this route")
            } else {
                format!("{threads} are reserved for another route")
            });
        }
        explain.may_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("if {} wait for a thread already, or none is free within {}", plural(self.queue.limit, "request"), self.queue.wait),
        );
        let of_route = explain.request().extensions().get::<Deadline>().map(|deadline| Duration(deadline.0));
        if let Some(deadline) = of_route.or(self.deadline) {
            explain.may_answer(StatusCode::GATEWAY_TIMEOUT, format!("if the app has not begun its response after {deadline}"));
        }
    }
}

impl WsgiLayer {
    /// What becomes of a request.
    pub(crate) fn tell(&self, explain: &mut Explain<'_>) {
        if explain.request().extensions().get::<InWorker>().is_none() {
            explain.note("Python begins here: this layer and everything below run in worker processes");
            explain.request_mut().extensions_mut().insert(InWorker);
        }
        explain.leave_open();
        explain.note(format!("calls `{}`, which may answer, or pass the request on as it is or changed", self.middleware));
    }
}

fn plural(number: u64, noun: &str) -> String {
    match (number, noun.ends_with('s')) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{number} {noun}es"),
        (_, false) => format!("{number} {noun}s"),
    }
}
