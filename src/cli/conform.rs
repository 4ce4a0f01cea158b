//! `ziggurat conform`: a WSGI server under test, and the app that it is tested with.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use clap::ArgGroup;
use serde_json::{Value, json};

use super::junit::{self, TestCase, TestResult};
use super::{FAILURE, MISUSE, SUCCESS, color_on, complain, print};
use crate::conform::{self, Case, Level, Outcome, Run, Target, Verdict};
use crate::pipeline::suggestion;
use crate::upstream::TlsOptions;

#[derive(clap::Args)]
#[command(
    group = ArgGroup::new("what").args(["against", "write"]).required(true),
    after_help = "Examples:
  ziggurat conform --write app.py                   write the app of the cases
  gunicorn --threads 4 app                          serve it, for instance so; its callable is `application`
  ziggurat conform --against http://127.0.0.1:8000  run the cases against that
  ziggurat conform --against http://127.0.0.1:8000 --only framing --only head-next
  ziggurat conform --against https://localhost:8443 --insecure"
)]
pub(super) struct Conform {
    /// The server under test: `http://HOST:PORT`, or `https://HOST:PORT` with TLS. It serves the app of the cases at its root.
    #[arg(long, value_name = "URL")]
    against: Option<String>,

    /// A PEM file with the certificates of the authorities to trust, for `https`. By default those of the system are trusted.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["insecure", "write"])]
    ca: Option<PathBuf>,

    /// Takes any certificate of the server.
    #[arg(long, conflicts_with = "write")]
    insecure: bool,

    /// Writes the app of the cases to this file, which must not exist.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "json", "junit"])]
    write: Option<PathBuf>,

    /// The id of a case, or a topic; may be repeated. By default all cases run.
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,

    /// Prints the results as JSON.
    #[arg(long)]
    json: bool,

    /// Writes the results as JUnit XML into this file, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Writes the app, or runs the cases.
pub(super) fn conform(options: &Conform) -> u8 {
    match (&options.write, &options.against) {
        (Some(file), _) => write(file),
        (None, Some(url)) => {
            let tls = TlsOptions::of_client(options.ca.clone(), !options.insecure);
            match chosen(&options.only).and_then(|cases| Ok((cases, Target::new(url, &tls)?))) {
                Ok((cases, target)) => against(options, url, &cases, target),
                Err(message) => complain(&message, MISUSE),
            }
        }
        (None, None) => MISUSE,
    }
}

fn write(file: &Path) -> u8 {
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    match opened.and_then(|mut file| file.write_all(conform::APP.as_bytes())) {
        Ok(()) => SUCCESS,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => complain(&format!("error: `{}` already exists", file.display()), MISUSE),
        Err(error) => complain(&format!("error: cannot write {}: {error}", file.display()), FAILURE),
    }
}

/// The cases with these ids and topics. The error is a message with a suggestion.
fn chosen(only: &[String]) -> Result<Vec<Case>, String> {
    let cases = conform::cases()?;
    let is = |case: &Case, name: &str| case.id == name || case.topic == name;
    if let Some(unknown) = only.iter().find(|name| !cases.iter().any(|case| is(case, name))) {
        let hint = suggestion(unknown, "topics", conform::topics().collect::<Vec<_>>());
        return Err(format!("error: no case or topic is called `{unknown}`\nhint: {hint}"));
    }
    Ok(cases.into_iter().filter(|case| only.is_empty() || only.iter().any(|name| is(case, name))).collect())
}

/// A case that has run.
struct Ran<'a> {
    case: &'a Case,
    outcome: Outcome,
    took: Duration,
}

/// The result of a case, by the words that are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Passed,
    Failed,
    /// A `should` that has not passed.
    Notice,
    Skipped,
}

impl Ran<'_> {
    fn mark(&self) -> Mark {
        match (&self.outcome.verdict, self.case.level) {
            (Verdict::Passed, _) => Mark::Passed,
            (Verdict::Failed(_), Level::Must) => Mark::Failed,
            (Verdict::Failed(_), Level::Should) => Mark::Notice,
            (Verdict::Skipped(_), _) => Mark::Skipped,
        }
    }

    fn reason(&self) -> Option<&str> {
        match &self.outcome.verdict {
            Verdict::Passed => None,
            Verdict::Failed(reason) | Verdict::Skipped(reason) => Some(reason),
        }
    }

    /// A line, and below it the rule and the exchange if the case has not passed.
    fn text(&self, color: bool) -> String {
        let Case { id, title, level, rule, .. } = self.case;
        let mark = self.mark();
        let style = if color { mark.style() } else { Style::new() };
        let mut text = format!("  {style}{:<8}{style:#}{id}: {title}\n", mark.word());
        match self.reason() {
            Some(reason) if mark == Mark::Skipped => {
                let _ = writeln!(text, "          {reason}");
            }
            Some(reason) => {
                let _ = writeln!(text, "          {level}, {rule}\n          {reason}");
                for line in self.outcome.transcript.lines() {
                    let _ = writeln!(text, "          {line}");
                }
            }
            None => {}
        }
        text
    }

    fn json(&self) -> Value {
        let Case { topic, id, title, level, rule, .. } = self.case;
        let exchange = self.outcome.transcript.lines().collect::<Vec<_>>();
        json!({
            "id": id, "topic": topic, "title": title, "level": level.to_string(), "rule": rule,
            "result": self.mark().word().to_lowercase(), "reason": self.reason(), "exchange": exchange
        })
    }

    fn test_case(&self) -> TestCase {
        let reason = self.reason().unwrap_or_default().to_owned();
        let result = match self.mark() {
            Mark::Passed => TestResult::Passed,
            Mark::Failed => {
                let text = format!("{}, {}\n{}", self.case.level, self.case.rule, self.outcome.transcript);
                TestResult::Failed { message: reason, text }
            }
            Mark::Notice => TestResult::Skipped(Some(format!("notice: {reason}"))),
            Mark::Skipped => TestResult::Skipped(Some(reason)),
        };
        TestCase { name: format!("{}: {}", self.case.id, self.case.title), class: self.case.topic.to_owned(), took: self.took, result }
    }
}

impl Mark {
    const ALL: [Self; 4] = [Self::Passed, Self::Failed, Self::Notice, Self::Skipped];

    fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Notice => "notice",
            Self::Skipped => "skipped",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Passed => AnsiColor::Green.on_default(),
            Self::Failed => AnsiColor::Red.on_default().bold(),
            Self::Notice => AnsiColor::Yellow.on_default(),
            Self::Skipped => AnsiColor::BrightBlack.on_default(),
        }
    }
}

fn against(options: &Conform, url: &str, cases: &[Case], target: Target) -> u8 {
    let run = Run::new(target);
    if let Err(message) = run.recognize() {
        return complain(&message, FAILURE);
    }
    let color = color_on(&io::stdout());
    let mut ran: Vec<Ran<'_>> = Vec::new();
    for case in cases {
        let begins = ran.last().is_none_or(|last| last.case.topic != case.topic);
        let start = Instant::now();
        let outcome = run.case(case);
        let one = Ran { case, outcome, took: start.elapsed() };
        if !options.json {
            let heading = if begins { format!("{}\n", case.topic) } else { String::new() };
            if print(&format!("{heading}{}", one.text(color))) != SUCCESS {
                return FAILURE;
            }
        }
        ran.push(one);
    }
    let count = |mark| ran.iter().filter(|one| one.mark() == mark).count();
    let [passed, failed, notices, skipped] = Mark::ALL.map(count);
    let printed = if options.json {
        let results = ran.iter().map(Ran::json).collect::<Vec<_>>();
        let counts = json!({ "ok": passed, "failed": failed, "notice": notices, "skipped": skipped });
        print(&format!("{:#}\n", json!({ "against": url, "counts": counts, "cases": results })))
    } else {
        print(&format!(
            "\n{passed} ok, {failed} failed, {notices} {}, {skipped} skipped\n",
            if notices == 1 { "notice" } else { "notices" }
        ))
    };
    if let Some(path) = &options.junit
        && let Err(error) = junit::write(path, url, &ran.iter().map(Ran::test_case).collect::<Vec<_>>())
    {
        return complain(&format!("error: cannot write {}: {error}", path.display()), FAILURE);
    }
    if failed > 0 { FAILURE } else { printed }
}
