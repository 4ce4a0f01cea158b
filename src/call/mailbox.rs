//! An answer on its way to whoever made the call on this very thread.
//!
//! Nobody reads while the app runs, so nothing here waits. What an app gives as an iterable is taken one chunk at a time; only what it sends
//! by `write()` can gather, and of that a part stays in memory and the rest goes to a file without a name.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use ziggurat_middleware::{BoxError, FileBody, Problem};

use super::ResponseHead;
use super::pipe::Disconnected;

/// So many octets wait in memory.
const IN_MEMORY: usize = 1 << 20;

/// So many more wait in the file; an app that writes more before it returns is told so.
const IN_FILE: u64 = 1 << 30;

/// So many come out of the file at once.
const BLOCK: usize = 64 * 1024;

/// Where the answer is left, and taken from.
#[derive(Clone, Default)]
pub(crate) struct Mailbox(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    start: Option<Start>,
    spool: Spool,
    end: Option<Result<(), BoxError>>,
}

/// What is known of an answer when its head is.
pub(crate) enum Start {
    Whole(ResponseHead, Bytes),
    File(ResponseHead, FileBody),
    /// The body is to come.
    Stream(ResponseHead),
    Failed(Problem),
}

impl Mailbox {
    /// Leaves the beginning.
    pub(super) fn start(&self, start: Start) {
        self.lock().start = Some(start);
    }

    /// Leaves a chunk.
    pub(super) fn put(&self, chunk: Bytes) -> Result<(), Disconnected> {
        let mut contents = self.lock();
        let outcome = contents.spool.put(chunk);
        outcome.map_err(|error| {
            tracing::error!("what an app has written cannot be kept: {error}");
            contents.end = Some(Err(error.into()));
            Disconnected
        })
    }

    /// Leaves the end.
    pub(super) fn end(&self, end: Result<(), BoxError>) {
        self.lock().end.get_or_insert(end);
    }

    /// Takes the beginning, if it is there.
    pub(crate) fn take_start(&self) -> Option<Start> {
        self.lock().start.take()
    }

    /// Takes the next chunk, or the end, which is `None` inside; nothing where the app has to go on first.
    pub(crate) fn next(&self) -> Option<Option<Result<Bytes, BoxError>>> {
        let mut contents = self.lock();
        match contents.spool.take() {
            Ok(Some(chunk)) => Some(Some(Ok(chunk))),
            Ok(None) => match contents.end.take()? {
                Ok(()) => Some(None),
                Err(error) => Some(Some(Err(error))),
            },
            Err(error) => Some(Some(Err(error.into()))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chunks in memory, and after them what is in a file.
#[derive(Default)]
struct Spool {
    chunks: VecDeque<Bytes>,
    octets: usize,
    file: Option<SpoolFile>,
}

struct SpoolFile {
    file: File,
    written: u64,
    read: u64,
}

impl Spool {
    fn put(&mut self, chunk: Bytes) -> io::Result<()> {
        // One chunk of any size is there already; it costs nothing to keep it.
        if self.file.is_none() && (self.octets == 0 || self.octets + chunk.len() <= IN_MEMORY) {
            self.octets += chunk.len();
            self.chunks.push_back(chunk);
            return Ok(());
        }
        let overflow = match &mut self.file {
            Some(overflow) => overflow,
            none => none.insert(SpoolFile { file: tempfile::tempfile()?, written: 0, read: 0 }),
        };
        if overflow.written - overflow.read + chunk.len() as u64 > IN_FILE {
            return Err(io::Error::other("1 GiB waits already"));
        }
        overflow.file.write_all(&chunk)?;
        overflow.written += chunk.len() as u64;
        Ok(())
    }

    fn take(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(chunk) = self.chunks.pop_front() {
            self.octets -= chunk.len();
            return Ok(Some(chunk));
        }
        let Some(overflow) = &mut self.file else { return Ok(None) };
        let left = usize::try_from(overflow.written - overflow.read).unwrap_or(usize::MAX);
        if left == 0 {
            self.file = None;
            return Ok(None);
        }
        let mut block = BytesMut::zeroed(left.min(BLOCK));
        overflow.file.read_exact_at(&mut block, overflow.read)?;
        overflow.read += block.len() as u64;
        Ok(Some(block.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spool: &mut Spool) -> Vec<u8> {
        std::iter::from_fn(|| spool.take().unwrap()).flatten().collect()
    }

    #[test]
    fn what_does_not_fit_into_memory_comes_back_from_a_file_in_its_order() {
        let mut spool = Spool::default();
        let chunks: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; 100_000]).collect();
        for chunk in &chunks {
            spool.put(chunk.clone().into()).unwrap();
        }
        assert!(spool.octets <= IN_MEMORY);
        assert_eq!(all(&mut spool), chunks.concat());
        spool.put(Bytes::from_static(b"again")).unwrap();
        assert!(spool.file.is_none());
        assert_eq!(all(&mut spool), b"again");
    }

    #[test]
    fn the_end_comes_after_all_chunks_and_is_told_once() {
        let mailbox = Mailbox::default();
        assert!(mailbox.next().is_none());
        mailbox.put(Bytes::from_static(b"a")).unwrap();
        mailbox.end(Err("broken".into()));
        mailbox.end(Ok(()));
        assert_eq!(mailbox.next().unwrap().unwrap().unwrap(), "a");
        assert!(mailbox.next().unwrap().unwrap().is_err());
        assert!(mailbox.next().is_none());
    }
}
