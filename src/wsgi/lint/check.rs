//! The check of one request at one border: what the callee has answered so far, and the findings.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyAssertionError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use ziggurat_middleware::WsgiLint;

use super::{Border, Rule};
use crate::wsgi::input::Input;
use crate::wsgi::response_head::type_name;

/// One request at one border.
pub(super) struct Check {
    border: Arc<Border>,
    /// That of the caller, if it has passed its own `start_response` on.
    above: Option<Arc<Self>>,
    /// The rules that were broken below: what passes on the response is not at fault. One bit each.
    broken_below: AtomicU32,
    lint: WsgiLint,
    /// For the log.
    request_id: Option<String>,
    request: String,
    is_head: bool,
    /// The body of the request, where it is the server's own.
    input: Option<Py<Input>>,
    answer: Mutex<Answer>,
}

/// The response so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Answer {
    pub(super) is_started: bool,
    /// Whether the status has no body.
    pub(super) is_bodiless: bool,
    /// What `Content-Length` says.
    pub(super) length: Option<u64>,
    /// Octets of the body.
    pub(super) sent: u64,
}

impl Check {
    pub(super) fn new(border: &Arc<Border>, above: Option<Arc<Self>>, environ: &Bound<'_, PyAny>, lint: WsgiLint) -> Self {
        let environ = environ.cast::<PyDict>().ok();
        let get = |key: &str| environ.and_then(|environ| environ.get_item(key).ok()?);
        let text = |key: &str| get(key).and_then(|value| Some(value.cast::<PyString>().ok()?.to_string_lossy().into_owned()));
        let method = text("REQUEST_METHOD").unwrap_or_default();
        let path = [text("SCRIPT_NAME"), text("PATH_INFO")].map(Option::unwrap_or_default).concat();
        Self {
            border: Arc::clone(border),
            above,
            broken_below: AtomicU32::new(0),
            lint,
            request_id: text("ziggurat.request_id"),
            is_head: method == "HEAD",
            request: format!("{method} {path}"),
            input: get("wsgi.input").and_then(|input| Some(input.cast_exact::<Input>().ok()?.clone().unbind())),
            answer: Mutex::default(),
        }
    }

    /// A finding about the callee.
    pub(super) fn find(&self, rule: Rule, what: &str) -> PyResult<()> {
        self.raised(&self.border.callee, rule, what)
    }

    /// A finding about the caller.
    pub(super) fn find_in_caller(&self, rule: Rule, what: &str) -> PyResult<()> {
        self.border.caller.as_ref().map_or(Ok(()), |caller| self.raised(caller, rule, what))
    }

    /// A finding about the callee that nobody can be told any more.
    pub(super) fn note(&self, rule: Rule, what: &str) {
        self.log(&self.border.callee, rule, what);
    }

    /// The same about the caller.
    pub(super) fn by_caller(&self, rule: Rule, what: &str) {
        if let Some(caller) = &self.border.caller {
            self.log(caller, rule, what);
        }
    }

    fn raised(&self, who: &str, rule: Rule, what: &str) -> PyResult<()> {
        if self.told(who, rule, what) && self.lint == WsgiLint::Error {
            return Err(PyAssertionError::new_err(format!("{who} breaks PEP 3333 ({}): {what}", rule.name())));
        }
        Ok(())
    }

    /// Logs a finding, unless it is that of a callable below. Returns whether it is none of those.
    fn told(&self, who: &str, rule: Rule, what: &str) -> bool {
        if self.broken_below.load(Ordering::Relaxed) & (1 << rule as u32) != 0 {
            return false;
        }
        let mut above = self.above.as_ref();
        while let Some(check) = above {
            check.broken_below.fetch_or(1 << rule as u32, Ordering::Relaxed);
            above = check.above.as_ref();
        }
        self.log(who, rule, what);
        true
    }

    /// Logs the first, 10th, 100th finding and so on.
    fn log(&self, who: &str, rule: Rule, what: &str) {
        let Some(broken) = self.border.broken.get(rule as usize) else { return };
        let times = broken.fetch_add(1, Ordering::Relaxed) + 1;
        if !is_power_of_ten(times) {
            return;
        }
        let (id, request) = (self.request_id.as_deref(), self.request.as_str());
        let seen = if times == 1 { "the first time".to_owned() } else { format!("{times} times so far") };
        tracing::warn!(request_id = id, request, "{who} breaks PEP 3333 ({}): {what}; seen {seen}", rule.name());
    }

    /// The callee of the border, for messages about its caller.
    pub(super) fn callee(&self) -> &str {
        &self.border.callee
    }

    /// Whether the caller is a callable, and not the server.
    pub(super) fn has_caller(&self) -> bool {
        self.border.caller.is_some()
    }

    /// Looks or changes what has been answered.
    pub(super) fn answer<T>(&self, act: impl FnOnce(&mut Answer) -> T) -> T {
        act(&mut self.answer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells whether `wsgi.input` was read after its end, once for each time.
    pub(super) fn input(&self, py: Python<'_>, tell: impl FnOnce(&Self, Rule, &str)) {
        let Some(Ok(mut input)) = self.input.as_ref().map(|input| input.bind(py).try_borrow_mut()) else { return };
        if input.take_past_end() {
            tell(self, Rule::Input, "it read `wsgi.input` again after an empty read had told the end");
        }
    }

    /// Checks a chunk of the body.
    pub(super) fn chunk(&self, chunk: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(octets) = chunk.cast::<PyBytes>() else {
            return self.find(Rule::Body, &format!("a chunk of its response is `{}`, not bytes", type_name(chunk)));
        };
        let count = octets.as_bytes().len() as u64;
        if count == 0 {
            return Ok(());
        }
        let before = self.answer(|answer| {
            let before = *answer;
            answer.sent += count;
            before
        });
        if !before.is_started && before.sent == 0 {
            self.find(Rule::StartResponse, "it gave the first octets of its response before it called start_response()")?;
        }
        if before.is_bodiless && before.sent == 0 {
            self.find(Rule::Bodiless, "its response has a body, but its status has none")?;
        }
        if self.is_head && before.sent == 0 {
            // Never raised: PEP 3333 does not forbid it, and frameworks leave it to the server.
            self.told(&self.border.callee, Rule::Head, "its response to HEAD has a body, which the server drops");
        }
        match before.length.filter(|_| !self.has_no_length(before)) {
            Some(length) if before.sent <= length && before.sent + count > length => {
                self.find(Rule::ContentLength, &format!("its response is longer than its Content-Length of {length}"))
            }
            _ => Ok(()),
        }
    }

    /// Checks what is known at the end of the body.
    pub(super) fn end(&self) -> PyResult<()> {
        let answer = self.answer(|answer| *answer);
        if !answer.is_started && answer.sent == 0 {
            self.find(Rule::StartResponse, "it did not call start_response()")?;
        }
        match answer.length.filter(|_| !self.has_no_length(answer)) {
            Some(length) if answer.sent < length => {
                let missing = length - answer.sent;
                self.find(Rule::ContentLength, &format!("its response is {missing} octets shorter than its Content-Length of {length}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether `Content-Length` is not that of the body: it may be the one that another response would have.
    const fn has_no_length(&self, answer: Answer) -> bool {
        self.is_head || answer.is_bodiless
    }
}

const fn is_power_of_ten(mut number: u64) -> bool {
    while number > 1 && number.is_multiple_of(10) {
        number /= 10;
    }
    number == 1
}

#[cfg(test)]
mod tests {
    #[test]
    fn powers_of_ten_are_logged() {
        let logged: Vec<u64> = (0..=1000).filter(|times| super::is_power_of_ten(*times)).collect();
        assert_eq!(logged, [1, 10, 100, 1000]);
    }
}
