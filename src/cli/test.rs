//! `ziggurat test`: the tests in the file.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use http::Extensions;

use super::junit::{self, TestCase, TestResult};
use super::{FAILURE, File, MISUSE, SUCCESS, color, complain, load, print};
use crate::pipeline::{Judged, Pipeline, Registry, Report};
use crate::run;

#[derive(clap::Args)]
pub(super) struct Test {
    #[command(flatten)]
    file: File,

    /// Builds the stack in memory, with its apps, and sends each request through it. It listens on nothing.
    #[arg(long)]
    live: bool,

    /// Writes the results as JUnit XML into this file, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs the tests of a file.
pub(super) fn test(options: &Test, registry: &Registry, host: &Extensions) -> u8 {
    let pipeline = match load(&options.file, registry) {
        Ok(pipeline) => pipeline,
        Err(report) => return complain(&report.render(color()), MISUSE),
    };
    let judged = match judge(&pipeline, host, options.live) {
        Ok(judged) => judged,
        Err(report) => return complain(&report.render(color()), FAILURE),
    };
    if judged.is_empty() {
        print(&format!("{}: no tests\n", options.file.path.display()));
        return SUCCESS;
    }
    print(&listing(&judged));
    let failed: Vec<&Judged<'_>> = judged.iter().filter(|judged| !judged.verdict.mismatches.is_empty()).collect();
    for judged in &failed {
        complain(&format!("\n{}", judged.report.render(color())), FAILURE);
    }
    let cases = || judged.iter().map(|judged| test_case(judged, &options.file.path)).collect::<Vec<_>>();
    if let Some(path) = &options.junit
        && let Err(error) = junit::write(path, &options.file.path.to_string_lossy(), &cases())
    {
        return complain(&format!("error: cannot write {}: {error}", path.display()), FAILURE);
    }
    if failed.is_empty() { SUCCESS } else { FAILURE }
}

fn judge<'a>(pipeline: &'a Pipeline, host: &Extensions, live: bool) -> Result<Vec<Judged<'a>>, Report> {
    if !live {
        return Ok(pipeline.judge(|outcome| outcome));
    }
    let requests = pipeline.questions().filter_map(|question| pipeline.arrive(question).ok()).collect();
    let answers = run::answers(pipeline, host, requests)?;
    let took: Vec<_> = answers.iter().map(|answer| answer.took).collect();
    let mut answers = answers.into_iter();
    let mut judged = pipeline.judge(|outcome| match answers.next() {
        Some(answer) => outcome.answered(answer.by.as_deref(), answer.status, answer.headers),
        None => outcome,
    });
    for (judged, took) in judged.iter_mut().zip(took) {
        judged.took += took;
    }
    Ok(judged)
}

/// A line for each test, and their numbers.
fn listing(judged: &[Judged<'_>]) -> String {
    let mut text = String::new();
    for judged in judged {
        let result = match &judged.verdict {
            verdict if !verdict.mismatches.is_empty() => "FAILED".to_owned(),
            verdict if verdict.passes() => "ok".to_owned(),
            verdict => format!("open: only `--live` can tell `{}`", verdict.undecided.join("`, `")),
        };
        let _ = writeln!(text, "test {} ... {result}", judged.name);
    }
    let (passed, failed, open) = counts(judged);
    let _ = writeln!(text, "\n{passed} passed, {failed} failed, {open} open");
    text
}

/// How many have passed, have failed, and are open.
fn counts(judged: &[Judged<'_>]) -> (usize, usize, usize) {
    let failed = judged.iter().filter(|judged| !judged.verdict.mismatches.is_empty()).count();
    let passed = judged.iter().filter(|judged| judged.verdict.passes()).count();
    (passed, failed, judged.len() - failed - passed)
}

/// A test for JUnit. The class is the name of the file.
fn test_case(judged: &Judged<'_>, file: &Path) -> TestCase {
    let result = if judged.verdict.passes() {
        TestResult::Passed
    } else if judged.verdict.mismatches.is_empty() {
        TestResult::Skipped(None)
    } else {
        let messages: Vec<&str> = judged.verdict.mismatches.iter().map(|mismatch| mismatch.message.as_str()).collect();
        TestResult::Failed { message: messages.join("; "), text: judged.report.render(false) }
    };
    let class = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    TestCase { name: judged.name.to_owned(), class, took: judged.took, result }
}
