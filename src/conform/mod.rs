//! Conformance of WSGI servers: cases over HTTP, an app that they ask, and the run of the cases against a server.
//!
//! The cases are the files in `cases`, one for each topic; [`read`] says how they are written. The app is `app.py`. Any WSGI server serves it; the suite
//! speaks to the server over sockets of its own and reads responses itself, because a client library hides faults.

mod body;
mod connection;
mod exchange;
mod judge;
mod read;
mod response;
mod run;
mod stream;

use std::fmt;

pub(crate) use self::run::{Outcome, Run, Target, Verdict};

/// The app that the server under test serves.
pub(crate) const APP: &str = include_str!("app.py");

/// Topics with their files, in the order in which they run.
const TOPICS: &[(&str, &str)] = &[
    ("environ", include_str!("cases/environ.txt")),
    ("input", include_str!("cases/input.txt")),
    ("start_response", include_str!("cases/start_response.txt")),
    ("iterable", include_str!("cases/iterable.txt")),
    ("file_wrapper", include_str!("cases/file_wrapper.txt")),
    ("http", include_str!("cases/http.txt")),
    ("framing", include_str!("cases/framing.txt")),
    ("concurrency", include_str!("cases/concurrency.txt")),
    ("exit", include_str!("cases/exit.txt")),
];

/// Whether a server is at fault that does not pass a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The specification requires it, or the response is wrong: a failure.
    Must,
    /// The specification recommends it, or it keeps users from harm: a notice.
    Should,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "must",
            Self::Should => "should",
        })
    }
}

/// One rule, and an exchange that shows whether a server keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The topic, which is its file.
    pub(crate) topic: &'static str,
    /// Unique and the same in later versions.
    pub(crate) id: &'static str,
    /// A sentence that is false when the case fails.
    pub(crate) title: &'static str,
    pub(crate) level: Level,
    /// Where the rule is written.
    pub(crate) rule: &'static str,
    steps: Vec<Step>,
}

/// What is done, or expected of the latest response.
#[derive(Clone, Debug)]
enum Step {
    /// Opens a connection; an open one is closed.
    Connect,
    /// Sends octets, on a new connection if there is none.
    Send(Vec<u8>),
    /// Sends octets if the latest response is 100; otherwise the case ends.
    Continue(Vec<u8>),
    /// Waits a moment, so that what was sent before travels alone.
    Pause,
    /// No more octets are sent on this connection.
    Shut,
    /// Closes the connection without reading what is on its way.
    Leave,
    /// Leaves a word to the app over a connection of its own, whose response nobody waits for.
    Note(String),
    /// Reads the head of a response.
    Head(Expected),
    /// The server answers with an error or not at all, and never again on this connection.
    Refused {
        /// The app may have been called, and have failed when it read the body.
        or_failed: bool,
    },
    /// Whatever the server does, it answers at most once on this connection.
    AtMostOne,
    /// The body begins with this.
    Begins {
        text: Vec<u8>,
        /// Nothing more comes with it, because the app has not made more.
        alone: bool,
    },
    /// The response does not look whole, unless it is an error of the server.
    Cut {
        /// Its framing shows it.
        visibly: bool,
    },
    /// The server closes the connection and sends nothing more.
    End,
    /// The case needs a connection that lasts.
    Persistent,
    /// What the head says.
    HeadIs(HeadRule),
    /// What the whole body says.
    BodyIs(BodyRule),
    /// What the app has noted becomes these words.
    Record(String),
    /// Sends a GET so often at once, `{n}` being the number of each; all must be answered with 200 and this body, if it is given.
    Together { count: usize, target: String, body: Option<String> },
}

/// The status that a response has.
#[derive(Clone, Debug)]
struct Expected {
    statuses: Vec<Status>,
    or: Option<Alternative>,
    /// The request was HEAD.
    bodiless: bool,
    /// No interim response comes before.
    at_once: bool,
}

/// A status code, or a class of them (`4`).
#[derive(Clone, Copy, Debug)]
enum Status {
    Code(u16),
    Class(u16),
}

/// What is as good as the expected response, and ends the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alternative {
    /// The connection is closed without a response.
    Closed,
    /// The request is refused by a response, or the connection closed.
    Refused,
    /// An error of the server.
    Error,
}

#[derive(Clone, Debug)]
enum HeadRule {
    /// The header occurs once and has this value.
    Header(String, Vec<u8>),
    /// So often the header occurs.
    Count(String, usize),
    /// No such header has this value.
    NoValue(String, Vec<u8>),
    /// The phrase after the status.
    Phrase(String),
    /// The version of HTTP, by its second number.
    Version(u8),
}

#[derive(Clone, Debug)]
enum BodyRule {
    Is(Vec<u8>),
    /// How many octets it has.
    Length(usize),
    /// One of these lines is in it.
    Line(Vec<String>),
    /// No line of it begins so.
    NoLine(String),
    /// The case needs what a server with this body lacks.
    SkipIf(String),
}

/// All cases. The error names the line of a file that is wrong.
pub(crate) fn cases() -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    for (topic, text) in TOPICS {
        cases.extend(read::cases(topic, text).map_err(|error| format!("cases/{topic}.txt:{error}"))?);
    }
    Ok(cases)
}

/// The names of the topics.
pub(crate) fn topics() -> impl Iterator<Item = &'static str> {
    TOPICS.iter().map(|(topic, _)| *topic)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_files_are_read_and_each_case_has_an_id_a_title_a_rule_and_an_expectation() {
        let cases = cases().unwrap();
        let ids: HashSet<_> = cases.iter().map(|case| case.id).collect();
        assert!(ids.len() == cases.len() && cases.len() >= 80, "{} of {}", ids.len(), cases.len());
        for case in &cases {
            assert!(["PEP 3333", "RFC "].iter().any(|source| case.rule.starts_with(source)), "{}: {}", case.id, case.rule);
            assert!(case.title.ends_with('.') && !case.steps.is_empty(), "{}: {}", case.id, case.title);
            assert!(!topics().any(|topic| topic == case.id), "{} is a topic too", case.id);
        }
    }
}
