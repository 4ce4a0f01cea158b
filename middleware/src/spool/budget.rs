//! How much waiting bodies may take together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::room::{Reserved, Room};
use crate::units::Size;
use crate::{Finding, Problem};

/// Where bodies wait, and how much they may take. A body is the body of a request on its way to an app, or that of a response on its way to a slow client.
/// Requests and responses of each `wsgi` app are counted apart, so each limit applies to each of them.
///
/// ```json
/// { "server": { "spool": { "folder": "/var/tmp", "memory": "64MiB", "limit": "4GiB" } }, "app": { "wsgi": "hello:app" } }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Spool")]
pub struct SpoolOptions {
    /// The folder of the temporary files, which have no names and so never stay behind. By default that of the system, often `/tmp`. If that is a file
    /// system in memory, the files take memory.
    pub folder: Option<PathBuf>,
    /// How much memory the bodies take before they go to files.
    pub memory: Size,
    /// How much the files take. A request whose body has no room gets a 503, or a 413 if its body alone is longer; a response that has no room keeps its
    /// thread until the client has taken enough of it.
    pub limit: Size,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self { folder: None, memory: Size::mib(64), limit: Size::mib(1024) }
    }
}

impl SpoolOptions {
    /// The folder of the temporary files. Relative paths start at `base`.
    #[must_use]
    pub fn folder(&self, base: &Path) -> PathBuf {
        self.folder.as_ref().map_or_else(std::env::temp_dir, |folder| base.join(folder))
    }

    /// Reports a folder without temporary files.
    ///
    /// # Errors
    ///
    /// That none can be made there.
    pub fn check_folder(folder: &Path) -> Result<(), Finding> {
        let made = tempfile::tempfile_in(folder).map(drop);
        made.map_err(|error| Finding::new(format!("cannot write temporary files to `{}`: {error}", folder.display())).at("folder"))
    }
}

/// The bounds of bodies, and what is left of them.
#[derive(Debug)]
pub struct SpoolBudget {
    limit: u64,
    memory_of_one: u64,
    folder: PathBuf,
    memory: Arc<Room>,
    disk: Arc<Room>,
    disk_option: &'static str,
}

impl SpoolBudget {
    /// For bodies of up to `limit` octets, of which `memory_of_one` wait in memory. `disk_option` names the option that bounds the files, for the log.
    #[must_use]
    pub fn new(limit: Size, memory_of_one: Size, memory: Size, disk: Size, folder: PathBuf, disk_option: &'static str) -> Self {
        let room = |size: Size| Arc::new(Room::new(size.0));
        Self { limit: limit.0, memory_of_one: memory_of_one.0, folder, memory: room(memory), disk: room(disk), disk_option }
    }

    /// The longest body.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// How much of one body waits in memory.
    #[must_use]
    pub const fn memory_of_one(&self) -> u64 {
        self.memory_of_one
    }

    /// Where files are made.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The memory of all bodies.
    #[must_use]
    pub const fn memory(&self) -> &Arc<Room> {
        &self.memory
    }

    /// The disk space of all bodies.
    #[must_use]
    pub const fn disk(&self) -> &Arc<Room> {
        &self.disk
    }

    /// Takes so many more octets of the disk.
    pub(super) fn grow(&self, reserved: &mut Reserved, octets: u64) -> Result<(), Problem> {
        if reserved.grow(octets) {
            return Ok(());
        }
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("too many request bodies are being received");
        let problem = problem.header(RETRY_AFTER, const { HeaderValue::from_static("10") });
        let (limit, option) = (Size(self.disk.limit()), self.disk_option);
        Err(problem.because(format!("request bodies take {limit} of disk already, which is `{option}`")))
    }

    /// 413.
    pub(super) fn too_large(&self) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE).detail(format!("the request body is over {}", Size(self.limit)))
    }
}
