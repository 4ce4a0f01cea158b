//! The first words between the front and a worker: what it is to be, and that it is, or why it cannot be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ziggurat_middleware::{Finding, Step};

use super::link::frame::VERSION;

/// What a worker is to be. It travels as the first frame, so that nothing of it is seen in the process list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Boot {
    /// [`VERSION`] of the front.
    pub(crate) version: u32,
    /// The app's place in the file, for logs.
    pub(crate) place: String,
    /// The worker's number among those of its app, from 1. A template has 0.
    pub(crate) nth: usize,
    /// The application, as the file names it.
    pub(crate) app: String,
    /// Folders in which modules are looked for first.
    pub(crate) path: Vec<PathBuf>,
    /// Threads that call the app.
    pub(crate) threads: usize,
    /// Whether the app has more workers than one.
    pub(crate) is_multiprocess: bool,
    /// The working folder, where it is to be another one.
    pub(crate) chdir: Option<PathBuf>,
    /// Whom to become, by name or number.
    pub(crate) user: Option<String>,
    /// The group to become a member of, where it is not the user's own.
    pub(crate) group: Option<String>,
    /// Set for a template: import, answer these paths once, freeze, and make workers by forking.
    pub(crate) preload: Option<Vec<String>>,
    /// A part of the pipeline that is to run in the worker, where that is more than the app, in the words of whoever read the file.
    pub(crate) stack: Option<Value>,
}

impl Boot {
    /// Reads the first word, unless it is of another version.
    ///
    /// # Errors
    ///
    /// What the front is to show its user.
    pub(crate) fn read(json: &[u8]) -> Result<Self, Finding> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }

        let unread = |error: serde_json::Error| Finding::new(format!("a worker does not understand what it is to be: {error}"));
        let Versioned { version } = serde_json::from_slice(json).map_err(unread)?;
        if version != VERSION {
            let text = format!("a worker is of another version than the server: it speaks {VERSION} of their link, the server {version}");
            return Err(Finding::new(text).hint("the program was exchanged while the server ran: restart the server"));
        }
        serde_json::from_slice(json).map_err(unread)
    }

    /// What the process list shows.
    pub(crate) fn title(&self) -> String {
        match self.nth {
            0 => format!("ziggurat: template of {} ({})", self.place, self.app),
            nth => format!("ziggurat: worker {nth} of {} ({})", self.place, self.app),
        }
    }

    /// The title in the 15 octets that the name of a process may have.
    pub(crate) fn short_title(&self) -> String {
        let module = self.app.split(':').next().unwrap_or_default();
        let nth = if self.nth == 0 { String::new() } else { format!(" {}", self.nth) };
        let mut room = 12_usize.saturating_sub(nth.len());
        while !module.is_char_boundary(room.min(module.len())) {
            room -= 1;
        }
        format!("zg:{}{nth}", &module[..room.min(module.len())])
    }

    /// What the worker's lines in the log begin with.
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

/// A process that a template had made, and that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) pid: u32,
    /// The exit code, if it ended by itself.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
}

/// Why a worker cannot be what it is to be: a [`Finding`] on its way to the front.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    path: Vec<Place>,
    message: String,
    hint: Option<String>,
    note: Option<String>,
    /// What is wrong with [`Boot::stack`], in the words of whoever wrote that. Where there is any, it is all there is to show.
    inside: Vec<Value>,
}

impl Refusal {
    /// A part of the stack that the worker is to run cannot be built.
    pub(crate) fn inside(message: impl Into<String>, findings: Vec<Value>) -> Self {
        Self { inside: findings, ..Finding::new(message).into() }
    }

    /// What is wrong with the stack, or with the worker itself.
    pub(crate) fn into_inside(self) -> Result<Vec<Value>, Finding> {
        if self.inside.is_empty() { Err(self.into()) } else { Ok(self.inside) }
    }

    /// What happened, in a line or more for the log.
    pub(crate) fn said(&self) -> (&str, Option<&str>) {
        (&self.message, self.note.as_deref())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Place {
    Index(usize),
    Key(String),
}

/// The longest text that is passed on; of a longer one the end is, where a traceback says what happened.
const LONGEST: usize = 256 * 1024;

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
    if text.len() <= LONGEST {
        return text;
    }
    let from = (text.len() - LONGEST..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
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
            path: Vec::new(),
            threads: 1,
            is_multiprocess: false,
            chdir: None,
            user: None,
            group: None,
            preload: None,
            stack: None,
        }
    }

    #[test]
    fn a_worker_is_told_apart_in_the_process_list() {
        let worker = boot(2, "hello:app");
        assert_eq!(worker.title(), "ziggurat: worker 2 of wsgi (hello:app)");
        assert_eq!(worker.short_title(), "zg:hello 2");
        assert_eq!(boot(12, "mysite.wsgi:application").short_title(), "zg:mysite.ws 12");
        assert_eq!(boot(3, "äääääääää").short_title(), "zg:äääää 3");
        assert_eq!(boot(0, "hello:app").short_title(), "zg:hello");
        assert_eq!(boot(0, "hello:app").title(), "ziggurat: template of wsgi (hello:app)");
    }

    #[test]
    fn a_front_of_another_version_is_told_so_whatever_else_it_says() {
        let finding = Boot::read(br#"{ "version": 99, "colour": "green" }"#).unwrap_err();
        assert!(finding.message.contains("another version"), "{finding}");
        assert!(finding.hint.unwrap().contains("restart"));
        let json = serde_json::to_vec(&boot(1, "hello:app")).unwrap();
        assert_eq!(Boot::read(&json).unwrap().app, "hello:app");
    }

    #[test]
    fn a_finding_reaches_the_front_as_it_was() {
        let finding = Finding::new("`x` is no folder").at("path").at(1).hint("make it").note("Traceback\n");
        let json = serde_json::to_vec(&Refusal::from(finding.clone())).unwrap();
        assert_eq!(Finding::from(serde_json::from_slice::<Refusal>(&json).unwrap()), finding);
    }

    #[test]
    fn of_a_traceback_that_is_too_long_the_end_is_passed_on() {
        let finding = Finding::new("raised").note(format!("{}\nValueError: no such luck", "ä".repeat(LONGEST)));
        let note = Refusal::from(finding).note.unwrap();
        assert!(note.len() <= LONGEST + 3 && note.starts_with("...") && note.ends_with("no such luck"));
    }
}
