//! Small files in memory: the octets and the headers, so that a request for one needs no system call.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::encoding::Encoding;
use crate::files::Identified;

/// How long files are served from memory before the file system is asked again.
const VALID: Duration = Duration::from_secs(1);

/// What a file takes beside its octets and its path: headers, and its entry here.
const OVERHEAD: usize = 1 << 10;

/// The encodings that a client accepts, the best first.
pub(super) type Ranking = [Option<Encoding>; Encoding::ALL.len()];

/// The small files that were requested within a second, by the path in the request. At its end all are forgotten.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    second: RwLock<Second>,
}

#[derive(Debug)]
struct Second {
    began: Instant,
    files: HashMap<Box<str>, Vec<(Ranking, Arc<Identified>)>>,
    /// What they take of the limit.
    taken: usize,
}

impl Memory {
    /// With room for so many octets.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, second: RwLock::new(Second::new(Instant::now())) }
    }

    /// Whether it never keeps anything.
    pub(super) const fn is_off(&self) -> bool {
        self.limit == 0
    }

    /// The file for a request, if it is here.
    pub(super) fn get(&self, path: &str, ranking: &Ranking) -> Option<Arc<Identified>> {
        if self.is_off() {
            return None;
        }
        let second = self.second.read().unwrap_or_else(PoisonError::into_inner);
        let (_, file) = second.files.get(path)?.iter().find(|(known, _)| known == ranking)?;
        (!second.is_over()).then(|| Arc::clone(file))
    }

    /// Keeps a file of so many octets, if there is room. What the file system has said of it is as old as `since`.
    pub(super) fn put(&self, path: &str, ranking: Ranking, file: &Arc<Identified>, octets: usize, since: Instant) {
        let mut second = self.second.write().unwrap_or_else(PoisonError::into_inner);
        if second.is_over() {
            *second = Second::new(since);
        }
        let taken = second.taken + octets + path.len() + OVERHEAD;
        if since < second.began || taken > self.limit {
            return;
        }
        let known = second.files.entry(path.into()).or_default();
        if known.iter().all(|(known, _)| *known != ranking) {
            known.push((ranking, Arc::clone(file)));
            second.taken = taken;
        }
    }
}

impl Second {
    fn new(began: Instant) -> Self {
        Self { began, files: HashMap::new(), taken: 0 }
    }

    fn is_over(&self) -> bool {
        self.began.elapsed() >= VALID
    }
}
