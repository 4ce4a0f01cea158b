//! The first words between the front and a worker: what it is to be, and that it is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a worker is to be. It travels as the first frame, so that nothing of it is seen in the process list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Boot {
    /// [`super::link::frame::VERSION`] of the front.
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
}

/// A worker that is ready for calls.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) version: u32,
    pub(crate) pid: u32,
}

/// A process that a template had made, and that has ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) pid: u32,
    /// The exit code, if it ended by itself.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
}
