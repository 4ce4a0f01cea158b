//! Small files in memory: the octets and the headers, so that a request for one opens and reads nothing.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::encoding::Encoding;
use crate::files::{Identified, Stamp};

/// How long files are kept. A compressed file that appears beside one is seen afterwards.
const VALID: Duration = Duration::from_secs(1);

/// What a file takes beside its octets and its path: headers, and its entry here.
const OVERHEAD: usize = 1 << 10;

/// The encodings that a client accepts, the best first.
pub(super) type Ranking = [Option<Encoding>; Encoding::ALL.len()];

/// The versions of the files that a response was made of, by name: the file and its compressed form.
pub(super) type Versions = Vec<(Vec<u8>, Stamp)>;

/// A file in memory.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) file: Identified,
    /// It is good as long as these have not changed.
    pub(super) versions: Versions,
}

/// The small files that were requested within a second, by the path in the request. At its end all are forgotten.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    window: RwLock<Window>,
}

/// A second, and the files that were requested in it.
#[derive(Debug)]
struct Window {
    began: Instant,
    files: HashMap<Box<str>, Vec<(Ranking, Arc<Kept>)>>,
    /// What they take of the limit.
    taken: usize,
}

impl Memory {
    /// With room for so many octets.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, window: RwLock::new(Window::new()) }
    }

    /// Whether it never keeps anything.
    pub(super) const fn is_off(&self) -> bool {
        self.limit == 0
    }

    /// The file for a request, if it is here.
    pub(super) fn get(&self, path: &str, ranking: &Ranking) -> Option<Arc<Kept>> {
        if self.is_off() {
            return None;
        }
        let window = self.window.read().unwrap_or_else(PoisonError::into_inner);
        let (_, file) = window.files.get(path)?.iter().find(|(known, _)| known == ranking)?;
        (!window.is_over()).then(|| Arc::clone(file))
    }

    /// Keeps a file of so many octets, if there is room.
    pub(super) fn put(&self, path: &str, ranking: Ranking, file: &Arc<Kept>, octets: usize) {
        let mut window = self.window.write().unwrap_or_else(PoisonError::into_inner);
        if window.is_over() {
            *window = Window::new();
        }
        let taken = window.taken + octets + path.len() + OVERHEAD;
        if taken > self.limit {
            return;
        }
        // Until the end of the second, a file counts that another one has replaced.
        window.taken = taken;
        let known = window.files.entry(path.into()).or_default();
        known.retain(|(known, _)| *known != ranking);
        known.push((ranking, Arc::clone(file)));
    }
}

impl Window {
    fn new() -> Self {
        Self { began: Instant::now(), files: HashMap::new(), taken: 0 }
    }

    fn is_over(&self) -> bool {
        self.began.elapsed() >= VALID
    }
}
