//! Compares what is expected of a request with what becomes of it.

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use ziggurat_middleware::Step;

use super::Expectation;
use crate::pipeline::explain::{Explanation, Hop, Role};

/// What becomes of a request.
pub(crate) struct Outcome {
    /// The hops that the request comes to.
    hops: Vec<Hop>,
    /// The place that answers.
    by: String,
    /// The response, if it is known.
    response: Option<(StatusCode, HeaderMap)>,
}

/// Whether a test has passed.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) mismatches: Vec<Mismatch>,
    /// What only a running stack can tell.
    pub(crate) undecided: Vec<&'static str>,
}

/// Something that is not as expected.
#[derive(Debug)]
pub(crate) struct Mismatch {
    /// Where the test says what was expected.
    pub(crate) path: Vec<Step>,
    pub(crate) message: String,
}

impl Outcome {
    /// What is known by explaining.
    pub(super) fn explained(explanation: Explanation) -> Self {
        let by = explanation.answered_by().map(|hop| hop.place.clone()).unwrap_or_default();
        let status = explanation.status.and_then(|status| StatusCode::from_u16(status).ok());
        let mut headers = HeaderMap::new();
        for (name, value) in &explanation.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse()) {
                headers.append(name, value);
            }
        }
        Self { hops: explanation.hops, by, response: status.map(|status| (status, headers)) }
    }

    /// With the response of the built stack, and the place that has answered there.
    pub(crate) fn answered(mut self, by: Option<&str>, status: StatusCode, headers: HeaderMap) -> Self {
        if let Some(by) = by {
            // A layer that may answer early has done so. An entry of `apps` and the app in it may have one name.
            if let Some(at) = self.hops.iter().rposition(|hop| hop.place == by) {
                self.hops.truncate(at + 1);
            }
            by.clone_into(&mut self.by);
        }
        self.response = Some((status, headers));
        self
    }

    fn header(&self, name: &str) -> Option<String> {
        let value = self.response.as_ref()?.1.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    fn layers(&self) -> impl Iterator<Item = &Hop> {
        self.hops.iter().filter(|hop| hop.role == Role::Layer)
    }

    /// The status in words.
    fn status(&self) -> String {
        self.response.as_ref().map_or_else(|| "not known".to_owned(), |(status, _)| format!("{} from `{}`", status.as_u16(), self.by))
    }
}

impl Verdict {
    pub(super) fn unexplained(message: String) -> Self {
        Self { mismatches: vec![Mismatch { path: vec!["request".into()], message }], undecided: Vec::new() }
    }

    fn fail(&mut self, path: &[&str], message: String) {
        let path = ["expect"].iter().chain(path).map(|key| Step::from(*key)).collect();
        self.mismatches.push(Mismatch { path, message });
    }

    /// Whether nothing is wrong and nothing open.
    pub(crate) fn passes(&self) -> bool {
        self.mismatches.is_empty() && self.undecided.is_empty()
    }
}

/// Whether a hop has this name: its place, or its kind.
fn is_named(hop: &Hop, name: &str) -> bool {
    hop.place == name || hop.kind.as_deref() == Some(name)
}

impl Expectation {
    pub(super) fn judge(&self, outcome: &Outcome) -> Verdict {
        let mut verdict = Verdict::default();
        self.judge_way(outcome, &mut verdict);
        self.judge_response(outcome, &mut verdict);
        verdict
    }

    fn judge_way(&self, outcome: &Outcome, verdict: &mut Verdict) {
        if let Some(route) = &self.route {
            let taken: Vec<&str> =
                outcome.hops.iter().filter_map(|hop| hop.routes.last().filter(|route| route.passed.is_none())?.name.as_deref()).collect();
            if !taken.contains(&route.as_str()) {
                let taken = if taken.is_empty() {
                    "no route with a name takes it".to_owned()
                } else {
                    format!("`{}` takes it", taken.join("`, `"))
                };
                verdict.fail(&["route"], format!("expected the route `{route}`, and {taken}"));
            }
        }
        if let Some(app) = &self.app {
            let is_it = |hop: &Hop| hop.role != Role::Layer && hop.role != Role::Listener && is_named(hop, app);
            let ends_in_app = outcome.hops.last().is_some_and(|hop| hop.role == Role::App);
            if !(ends_in_app && outcome.hops.iter().any(is_it)) {
                verdict.fail(&["app"], format!("expected the app `{app}`, and `{}` answers", outcome.by));
            }
        }
        let mut rest = outcome.layers();
        let mut met: Option<&str> = None;
        for layer in &self.layers.0 {
            if rest.by_ref().any(|hop| is_named(hop, layer)) {
                met = Some(layer);
                continue;
            }
            let message = match met.filter(|_| outcome.layers().any(|hop| is_named(hop, layer))) {
                Some(met) => format!("expected the layer `{layer}` below `{met}`, and it is above"),
                None => format!("expected the layer `{layer}`, and the request does not meet it"),
            };
            verdict.fail(&["layers"], message);
            break;
        }
        for layer in self.not_layers.0.iter().filter(|layer| outcome.layers().any(|hop| is_named(hop, layer))) {
            verdict.fail(&["not_layers"], format!("expected no layer `{layer}`, and the request meets it"));
        }
    }

    fn judge_response(&self, outcome: &Outcome, verdict: &mut Verdict) {
        let Some((status, _)) = &outcome.response else {
            let asked = [("status", self.status.is_some()), ("header", !self.header.is_empty()), ("redirect", self.redirect.is_some())];
            verdict.undecided.extend(asked.into_iter().filter_map(|(key, is_asked)| is_asked.then_some(key)));
            if let Some(layer) = &self.refused_by {
                verdict.fail(&["refused_by"], format!("expected a refusal by `{layer}`, and `{}` answers", outcome.by));
            }
            return;
        };
        if let Some(expected) = self.status.filter(|expected| *expected != status.as_u16()) {
            verdict.fail(&["status"], format!("expected status {expected}, and it is {}", outcome.status()));
        }
        for (name, expected) in &self.header {
            let found = outcome.header(name);
            let message = match (&expected.0, &found) {
                (Some(expected), Some(found)) if expected != found => format!("expected `{name}: {expected}`, and it is `{found}`"),
                (Some(expected), None) => format!("expected `{name}: {expected}`, and the response has no such header"),
                (None, Some(found)) => format!("expected no `{name}`, and it is `{found}`"),
                _ => continue,
            };
            verdict.fail(&["header", name], message);
        }
        if let Some(expected) = &self.redirect {
            let to = outcome.header(LOCATION.as_str()).filter(|_| status.is_redirection());
            if to.as_ref() != Some(expected) {
                let found = to.map_or_else(|| format!("the status is {}", outcome.status()), |to| format!("it leads to `{to}`"));
                verdict.fail(&["redirect"], format!("expected a redirect to `{expected}`, and {found}"));
            }
        }
        if let Some(layer) = &self.refused_by {
            let is_it = outcome.hops.iter().any(|hop| hop.place == outcome.by && hop.role == Role::Layer && is_named(hop, layer));
            if !is_it || status.as_u16() < 400 {
                verdict.fail(&["refused_by"], format!("expected a refusal by `{layer}`, and the answer is {}", outcome.status()));
            }
        }
    }
}
