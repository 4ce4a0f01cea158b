//! `"tests"` of a pipeline file: requests, and what becomes of them.

mod options;
mod verdict;

use std::sync::Arc;
use std::time::{Duration, Instant};

use options::Expectation;
pub(crate) use options::{FileTest, WrittenTest};
use verdict::{Outcome, Verdict};

use super::Pipeline;
use super::diagnostic::{Diagnostic, Id, Report};
use super::explain::Question;
use super::tree::Node;

/// A test with its result.
pub(crate) struct Judged<'a> {
    pub(crate) name: &'a str,
    pub(crate) verdict: Verdict,
    /// How long it took to judge it.
    pub(crate) took: Duration,
    /// What is wrong, at its place in the file.
    pub(crate) report: Report,
}

impl Pipeline {
    /// The requests of the file's tests.
    pub(crate) fn questions(&self) -> impl Iterator<Item = &Question> {
        self.file.tests.iter().map(|test| &test.value.question)
    }

    /// Judges each test by what `outcome` makes of what explaining its request has told.
    pub(crate) fn judge(&self, mut outcome: impl FnMut(Outcome) -> Outcome) -> Vec<Judged<'_>> {
        let judged = self.file.tests.iter().map(|test| {
            let start = Instant::now();
            let verdict = match self.explain(&test.value.question) {
                Ok(explanation) => test.value.expect.judge(&outcome(Outcome::explained(explanation))),
                // It was checked when the file was read.
                Err(message) => Verdict::unexplained(message),
            };
            let findings = verdict.mismatches.iter().map(|mismatch| self.finding(&test.node, &test.value.name, mismatch));
            let report = Report::new(Arc::clone(&self.source), findings.collect());
            Judged { name: &test.value.name, report, verdict, took: start.elapsed() }
        });
        judged.collect()
    }

    /// What the tests find that need no running stack.
    #[must_use]
    pub fn failing_tests(&self) -> Report {
        let none = Report::new(Arc::clone(&self.source), Vec::new());
        self.judge(|outcome| outcome).into_iter().fold(none, |all, judged| all.with(judged.report))
    }

    fn finding(&self, node: &Node, name: &str, mismatch: &verdict::Mismatch) -> Diagnostic {
        let message = self.secrets.redact(&format!("the test `{name}` fails: {}", mismatch.message));
        let span = node.nearest(&mismatch.path).span.clone();
        Diagnostic::error(Id::FailedTest, message, span).label("expected here")
    }
}
