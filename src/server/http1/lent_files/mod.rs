//! Parts of files that go from the page cache to the socket (sendfile(2)), without being read into memory.
//!
//! hyper writes octets only. A body lends it a placeholder of the part's length, and the [`Guard`](super::Guard), through which all writes of hyper go, sends the part instead. hyper must
//! not copy placeholders, and does not: it queues the chunks of bodies if the stream takes several slices at once.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ziggurat_middleware::FilePart;

/// Nobody reads it.
static PLACEHOLDER: [u8; FilePart::LONGEST] = [0; FilePart::LONGEST];

/// The parts of one connection that hyper has placeholders of, in the order in which it writes them.
#[derive(Default)]
pub(in crate::server) struct LentFiles {
    is_possible: AtomicBool,
    /// What is left of each part, and how many octets of it were sent.
    parts: Mutex<VecDeque<(FilePart, usize)>>,
}

/// What a write begins with.
pub(super) enum Begin {
    /// Octets: this many slices hold no placeholder.
    Octets(usize),
    /// A placeholder of this part.
    Part(FilePart),
}

impl LentFiles {
    /// Forgets all parts: the connection gets a new parser. From now on, parts are lent if the stream sends files.
    pub(super) fn begin(&self, sends_files: bool) {
        self.parts().clear();
        self.is_possible.store(sends_files, Relaxed);
    }

    /// Whether parts can be lent.
    pub(in crate::server) fn is_possible(&self) -> bool {
        self.is_possible.load(Relaxed)
    }

    /// The placeholder of a part, which must be written after those of all earlier parts.
    pub(in crate::server) fn lend(&self, part: FilePart) -> Bytes {
        let placeholder = PLACEHOLDER.get(..part.len).unwrap_or(&PLACEHOLDER);
        self.parts().push_back((part, 0));
        Bytes::from_static(placeholder)
    }

    /// What comes first in `slices`.
    ///
    /// # Errors
    ///
    /// It is a placeholder, and not what is left of the first part.
    pub(super) fn begin_of(&self, slices: &[IoSlice<'_>]) -> io::Result<Begin> {
        let Some(octets) = slices.iter().position(|slice| offset(slice).is_some()) else { return Ok(Begin::Octets(slices.len())) };
        if slices[..octets].iter().any(|slice| !slice.is_empty()) {
            return Ok(Begin::Octets(octets));
        }
        match (self.parts().front(), slices.get(octets)) {
            (Some((part, sent)), Some(slice)) if slice.len() == part.len && offset(slice) == Some(*sent) => Ok(Begin::Part(part.clone())),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a placeholder is not that of the next part of a file")),
        }
    }

    /// Notes that so many octets of the first part were sent.
    pub(super) fn note_sent(&self, octets: usize) {
        let mut parts = self.parts();
        if let Some((part, sent)) = parts.front_mut() {
            *sent += octets;
            part.at += octets as u64;
            part.len = part.len.saturating_sub(octets);
            if part.len == 0 {
                parts.pop_front();
            }
        }
    }

    fn parts(&self) -> MutexGuard<'_, VecDeque<(FilePart, usize)>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where in the placeholder a slice begins; `None` for other octets.
fn offset(slice: &[u8]) -> Option<usize> {
    let offset = slice.as_ptr().addr().checked_sub(PLACEHOLDER.as_ptr().addr())?;
    (!slice.is_empty() && offset < PLACEHOLDER.len()).then_some(offset)
}

#[cfg(test)]
mod tests;
