//! From `environ` to a request, as if the server had received it itself.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use ziggurat_middleware::{Request, RequestSummary};

use super::body::EnvironBody;
use crate::call::head::Head;
use crate::cgi;
use crate::wsgi::timed::EnvironClock;
use crate::wsgi::variables::{EnvironVariables, Keys};

/// The Python caller of a stack: its environ, which the app below gets again.
#[derive(Clone)]
pub(in crate::wsgi) struct Caller {
    pub(in crate::wsgi) environ: Arc<Py<PyDict>>,
    /// The variables before any layer changed the request.
    pub(in crate::wsgi) head: Head,
}

/// The request that an environ describes. Where it `is_fresh` from another server, nobody has judged the claims of proxies in its headers, and nobody
/// has read any of its body.
pub(super) fn request_of(environ: &Bound<'_, PyDict>, keys: &Keys, is_fresh: bool) -> PyResult<Request> {
    let mut parts = cgi::to_request(&EnvironVariables { environ, keys }, !is_fresh)?;
    let body = EnvironBody::of(environ, cgi::content_length(&parts.headers), is_fresh)?;
    let head = Head::with_body(&parts, &body);
    let summary = RequestSummary::new(&parts.method, &parts.uri, &parts.extensions);
    if let Some(clock) = EnvironClock::of(environ) {
        summary.start_clock(clock);
    }
    parts.extensions.insert(summary);
    parts.extensions.insert(Caller { environ: Arc::new(environ.clone().unbind()), head });
    Ok(Request::from_parts(parts, body))
}
