//! The recent errors of a stack.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use http::StatusCode;
use serde_json::{Value, json};

use crate::access_log::rfc3339;
use crate::{Place, RequestSummary};

/// The last responses with 5xx, the newest first.
#[derive(Debug, Default)]
pub struct RecentErrors(Mutex<VecDeque<RecentError>>);

#[derive(Debug)]
struct RecentError {
    time: SystemTime,
    status: StatusCode,
    place: Option<Place>,
    request: String,
    request_id: Option<String>,
}

/// How many are kept.
const ERRORS: usize = 50;

impl RecentErrors {
    /// Notes a response, if it is an error of the server.
    pub(super) fn note(&self, status: StatusCode, request: &RequestSummary) {
        if !status.is_server_error() {
            return;
        }
        let (place, request_id) = (request.answered_by().cloned(), request.id().map(str::to_owned));
        let error = RecentError { time: SystemTime::now(), status, place, request: request.to_string(), request_id };
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        errors.truncate(ERRORS - 1);
        errors.push_front(error);
    }

    /// A list of objects. Methods, paths and ids are those of clients, of bounded length.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let errors = errors.iter().map(|RecentError { time, status, place, request, request_id }| {
            json!({ "time": rfc3339(*time), "status": status.as_u16(), "place": place, "request": request, "request_id": request_id })
        });
        errors.collect()
    }
}
