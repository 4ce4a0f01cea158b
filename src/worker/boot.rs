//! The first frames between server and worker: what the worker is to run, and whether it can.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ziggurat_middleware::{Finding, Step};

use super::link::frame::VERSION;

/// What a worker is to run. It is the first frame on the link, so that the process list shows nothing of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Boot {
    /// [`VERSION`] of the server.
    pub(crate) version: u32,
    /// The app's place in the file, for logs.
    pub(crate) place: String,
    /// The number of the worker, from 1. The template has 0.
    pub(crate) nth: usize,
    /// The application, as in the file.
    pub(crate) app: String,
    /// Arguments of the app's factory.
    pub(crate) args: Vec<Value>,
    pub(crate) kwargs: Map<String, Value>,
    /// Folders that are searched for modules first.
    pub(crate) path: Vec<PathBuf>,
    /// Threads that call the app.
    pub(crate) threads: usize,
    /// Whether the app takes WebSockets, each of which has a thread of its own.
    pub(crate) takes_websockets: bool,
    /// Whether the app has more workers than one.
    pub(crate) is_multiprocess: bool,
    /// The working folder, if not the server's.
    pub(crate) chdir: Option<PathBuf>,
    /// The soft limit on open descriptors, if not the server's.
    pub(crate) descriptors: Option<u64>,
    /// The user to run as, by name or number.
    pub(crate) user: Option<String>,
    /// The group to run as, if not the user's primary group.
    pub(crate) group: Option<String>,
    /// The callable that is told of the ends of other workers, `module:callable`.
    pub(crate) worker_exit: Option<String>,
    /// Set for a template: the paths to request before it forks workers.
    pub(crate) preload: Option<Vec<String>>,
    /// Whether calls are timed.
    pub(crate) is_timed: bool,
    /// The part of the pipeline that runs in the worker, if that is more than the app. The pipeline defines its form.
    pub(crate) stack: Option<Value>,
}

impl Boot {
    /// Parses the frame, if it has this version.
    ///
    /// # Errors
    ///
    /// What the server shows its user.
    pub(crate) fn read(json: &[u8]) -> Result<Self, Finding> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }

        let unread = |error: serde_json::Error| Finding::new(format!("a worker cannot parse its configuration: {error}"));
        let Versioned { version } = serde_json::from_slice(json).map_err(unread)?;
        if version != VERSION {
            let text =
                format!("a worker is of another version than the server: it has version {VERSION} of the link, the server {version}");
            return Err(Finding::new(text).hint("the program was replaced while the server ran: restart the server"));
        }
        serde_json::from_slice(json).map_err(unread)
    }

    /// The title in the process list.
    pub(crate) fn title(&self) -> String {
        match self.nth {
            0 => format!("ziggurat: template of {} ({})", self.place, self.app),
            nth => format!("ziggurat: worker {nth} of {} ({})", self.place, self.app),
        }
    }

    /// The title in the 15 octets of a process name.
    pub(crate) fn short_title(&self) -> String {
        let module = self.app.strip_prefix("egg:").unwrap_or(&self.app).split([':', '#']).next().unwrap_or_default();
        let nth = if self.nth == 0 { String::new() } else { format!(" {}", self.nth) };
        let mut room = 12_usize.saturating_sub(nth.len());
        while !module.is_char_boundary(room.min(module.len())) {
            room -= 1;
        }
        format!("zg:{}{nth}", &module[..room.min(module.len())])
    }

    /// The prefix of the worker's log lines.
    pub(crate) fn mark(&self) -> String {
        match self.nth {
            0 => format!("template={}", self.place),
            nth => format!("worker={}/{nth}", self.place),
        }
    }
}

/// A worker that is ready for calls.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) version: u32,
    pub(crate) pid: u32,
}

/// The end of a process that the template forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) pid: u32,
    /// The exit code, if it exited.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
}

/// The end of a worker, for the app in another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerEnded {
    pub(crate) pid: u32,
    pub(crate) cause: String,
}

/// Why a worker cannot serve the app: a [`Finding`] on its way to the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    path: Vec<Place>,
    message: String,
    hint: Option<String>,
    note: Option<String>,
    /// The findings about [`Boot::stack`], in the pipeline's form. If there are any, the other fields are not shown.
    inside: Vec<Value>,
}

impl Refusal {
    /// A refusal because the stack cannot be built.
    pub(crate) fn inside(message: impl Into<String>, findings: Vec<Value>) -> Self {
        Self { inside: findings, ..Finding::new(message).into() }
    }

    /// The findings about the stack, or else the finding about the worker.
    pub(crate) fn into_inside(self) -> Result<Vec<Value>, Finding> {
        if self.inside.is_empty() { Err(self.into()) } else { Ok(self.inside) }
    }

    /// The message and the note, for the log.
    pub(crate) fn text(&self) -> (&str, Option<&str>) {
        (&self.message, self.note.as_deref())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Place {
    Index(usize),
    Key(String),
}

/// The longest text to send. Only the end of a longer text is sent: that is where a traceback names the exception.
const MAX_TEXT: usize = 256 * 1024;

impl From<Finding> for Refusal {
    fn from(finding: Finding) -> Self {
        let place = |step| match step {
            Step::Key(key) => Place::Key(key),
            Step::Index(index) => Place::Index(index),
        };
        Self {
            path: finding.path.into_iter().map(place).collect(),
            message: cut(finding.message),
            hint: finding.hint.map(cut),
            note: finding.note.map(cut),
            inside: Vec::new(),
        }
    }
}

impl From<Refusal> for Finding {
    fn from(refusal: Refusal) -> Self {
        let step = |place| match place {
            Place::Key(key) => Step::Key(key),
            Place::Index(index) => Step::Index(index),
        };
        let mut finding = Self::new(refusal.message);
        finding.path = refusal.path.into_iter().map(step).collect();
        finding.hint = refusal.hint;
        finding.note = refusal.note;
        finding
    }
}

fn cut(text: String) -> String {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let from = (text.len() - MAX_TEXT..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    format!("...{}", &text[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(nth: usize, app: &str) -> Boot {
        Boot {
            version: VERSION,
            place: "wsgi".to_owned(),
            nth,
            app: app.to_owned(),
            args: Vec::new(),
            kwargs: Map::new(),
            path: Vec::new(),
            threads: 1,
            takes_websockets: false,
            is_multiprocess: false,
            chdir: None,
            descriptors: None,
            user: None,
            group: None,
            worker_exit: None,
            preload: None,
            is_timed: false,
            stack: None,
        }
    }

    #[test]
    fn the_process_list_names_each_worker() {
        let worker = boot(2, "hello:app");
        assert_eq!(worker.title(), "ziggurat: worker 2 of wsgi (hello:app)");
        assert_eq!(worker.short_title(), "zg:hello 2");
        assert_eq!(boot(12, "mysite.wsgi:application").short_title(), "zg:mysite.ws 12");
        assert_eq!(boot(1, "egg:shop#main").short_title(), "zg:shop 1");
        assert_eq!(boot(3, "äääääääää").short_title(), "zg:äääää 3");
        assert_eq!(boot(0, "hello:app").short_title(), "zg:hello");
        assert_eq!(boot(0, "hello:app").title(), "ziggurat: template of wsgi (hello:app)");
    }

    #[test]
    fn a_server_of_another_version_is_refused_whatever_else_it_sends() {
        let finding = Boot::read(br#"{ "version": 99, "colour": "green" }"#).unwrap_err();
        assert!(finding.message.contains("another version"), "{finding}");
        assert!(finding.hint.unwrap().contains("restart"));
        let json = serde_json::to_vec(&boot(1, "hello:app")).unwrap();
        assert_eq!(Boot::read(&json).unwrap().app, "hello:app");
    }

    #[test]
    fn a_finding_reaches_the_server_unchanged() {
        let finding = Finding::new("`x` is no folder").at("path").at(1).hint("make it").note("Traceback\n");
        let json = serde_json::to_vec(&Refusal::from(finding.clone())).unwrap();
        assert_eq!(Finding::from(serde_json::from_slice::<Refusal>(&json).unwrap()), finding);
    }

    #[test]
    fn only_the_end_of_a_long_traceback_is_sent() {
        let finding = Finding::new("raised").note(format!("{}\nValueError: no such luck", "ä".repeat(MAX_TEXT)));
        let note = Refusal::from(finding).note.unwrap();
        assert!(note.len() <= MAX_TEXT + 3 && note.starts_with("...") && note.ends_with("no such luck"));
    }
}
