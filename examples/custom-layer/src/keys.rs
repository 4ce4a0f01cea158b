//! The file of keys, read again when it has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;
use ziggurat::prelude::{Finding, HeaderValue};

/// How often the file is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Whose key it is, ready for `REMOTE_USER` and for a header.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) name: Arc<str>,
    pub(crate) header: HeaderValue,
}

/// The keys of one state of the file, as hashes. Keys are long and random, so a fast hash without a salt is enough; passwords would need a slow one.
type Keys = Arc<[(Owner, [u8; 32])]>;

pub(crate) struct KeyFile {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    keys: Keys,
    stamp: Stamp,
    looked: Instant,
}

/// What changes with the file.
type Stamp = Option<(SystemTime, u64)>;

impl KeyFile {
    pub(crate) fn open(path: PathBuf) -> Result<Self, Finding> {
        let state = State { stamp: stamp(&path), keys: read(&path)?, looked: Instant::now() };
        Ok(Self { path, state: Mutex::new(state) })
    }

    /// Whose key this is. Every known key is compared whole, so that the time it takes tells nothing about any of them.
    pub(crate) fn owner(&self, key: &[u8]) -> Option<Owner> {
        let hash = Sha256::digest(key);
        let mut found = None;
        for (owner, known) in self.current().iter() {
            if known.ct_eq(hash.as_slice()).into() {
                found = Some(owner.clone());
            }
        }
        found
    }

    /// The keys as of at most a second ago.
    fn current(&self) -> Keys {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= PERIOD {
            state.looked = Instant::now();
            let stamp = stamp(&self.path);
            // A small local file, and only when it has changed: no request waits long.
            if stamp != state.stamp {
                state.stamp = stamp;
                match read(&self.path) {
                    Ok(keys) => state.keys = keys,
                    Err(finding) => tracing::error!("the keys stay as they were: {}", finding.message),
                }
            }
        }
        Arc::clone(&state.keys)
    }
}

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}

fn read(path: &Path) -> Result<Keys, Finding> {
    let hint = "write a line `owner:hash` for each key; `printf %s KEY | sha256sum` gives the hash";
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| Finding::new(format!("cannot read `{shown}`: {error}")).hint(hint))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| parse(line.trim()).ok_or_else(|| Finding::new(format!("line {number} of `{shown}` is no key")).hint(hint)))
        .collect()
}

/// `owner:hash`. What is wrong is not repeated: it might be a key.
fn parse(line: &str) -> Option<(Owner, [u8; 32])> {
    let (name, digits) = line.split_once(':')?;
    let header = HeaderValue::from_str(name).ok().filter(|_| !name.is_empty())?;
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (octet, at) in hash.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some((Owner { name: name.into(), header }, hash))
}
