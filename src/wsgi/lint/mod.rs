//! Checks what two callables do to each other against PEP 3333, for the requests that a layer `wsgi_lint` has marked.
//!
//! A [`Border`] stands between a caller and what it calls. That of the outermost callable is part of its `Application`; the caller is the server. In a
//! file with the layer, each Python layer calls what is below through a [`LintedCallable`], which is a border, too. A border checks one request with a
//! [`Check`]: it stands in for `start_response` and for the response.

mod callable;
mod check;
mod environ;
mod head;
mod iterable;
mod rule;
mod start_response;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use ziggurat_middleware::WsgiLint;

pub(super) use callable::LintedCallable;
use check::Check;
pub(super) use iterable::LintedIterable;
use rule::Rule;
use start_response::LintedStartResponse;

/// A caller and what it calls.
pub(super) struct Border {
    /// The caller's name. The server has none.
    caller: Option<Arc<str>>,
    callee: Arc<str>,
    /// How often each rule was broken.
    broken: [AtomicU64; Rule::ALL.len()],
}

impl Border {
    pub(super) const fn new(caller: Option<Arc<str>>, callee: Arc<str>) -> Self {
        Self { caller, callee, broken: [const { AtomicU64::new(0) }; Rule::ALL.len()] }
    }

    /// Calls the callee, checked.
    pub(super) fn call<'py>(
        self: &Arc<Self>,
        callable: &Bound<'py, PyAny>,
        environ: &Bound<'py, PyAny>,
        start_response: &Bound<'py, PyAny>,
        lint: WsgiLint,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = callable.py();
        let above = start_response.cast_exact::<LintedStartResponse>().ok().map(|start| start.get().check());
        let check = Arc::new(Check::new(self, above, environ, lint));
        if self.caller.is_some() {
            environ::check(environ, &check)?;
            check.input(py, Check::by_caller);
        }
        let start = LintedStartResponse::new(start_response.clone().unbind(), Arc::clone(&check));
        let returned = callable.call1((environ, Bound::new(py, start)?));
        check.input(py, Check::note);
        iterable::watched(returned?, &check)
    }
}

/// What a finding does, if this request is checked.
pub(super) fn of(environ: &Bound<'_, PyAny>) -> Option<WsgiLint> {
    let mark = environ.cast::<PyDict>().ok()?.get_item(intern!(environ.py(), "ziggurat.lint")).ok()??;
    WsgiLint::named(mark.cast::<PyString>().ok()?.to_str().ok()?.as_bytes())
}
