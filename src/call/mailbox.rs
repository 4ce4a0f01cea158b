//! A response for a caller on this thread.
//!
//! The caller does not read while the app runs, so nothing here blocks. An iterable is read one chunk at a time; only what the app sends by `write()`
//! can accumulate. A part of that stays in memory, and the rest goes to an unnamed temporary file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tracing::field::display;
use ziggurat_middleware::{BoxError, FileBody, Problem};

use super::ResponseHead;
use super::head::Head;
use super::pipe::Disconnected;

/// How many octets wait in memory.
const IN_MEMORY: usize = 1 << 20;

/// How many octets wait in the file. An app that writes more before it returns gets an error.
const IN_FILE: u64 = 1 << 30;

/// How many octets are read from the file at once.
const BLOCK: usize = 64 * 1024;

/// Holds the response until the caller reads it.
#[derive(Clone)]
pub(crate) struct Mailbox(Arc<Mutex<Contents>>);

struct Contents {
    /// Of the request, for the log.
    head: Head,
    start: Option<Start>,
    spool: Spool,
    end: Option<Result<(), BoxError>>,
}

/// The beginning of a response.
pub(crate) enum Start {
    Whole(ResponseHead, Bytes),
    File(ResponseHead, FileBody),
    /// The body follows.
    Stream(ResponseHead),
    Failed(Problem),
}

impl Mailbox {
    /// For the response to a request with this head.
    pub(crate) fn new(head: Head) -> Self {
        Self(Arc::new(Mutex::new(Contents { head, start: None, spool: Spool::default(), end: None })))
    }

    /// Stores the beginning.
    pub(super) fn start(&self, start: Start) {
        self.lock().start = Some(start);
    }

    /// Stores a chunk.
    pub(super) fn put(&self, chunk: Bytes) -> Result<(), Disconnected> {
        let mut contents = self.lock();
        contents.spool.put(chunk).map_err(|error| {
            let head = contents.head.view();
            let (request_id, request) = (head.request_id(), display(head.summary()));
            tracing::error!(
                request_id,
                request,
                "the response is broken off: the app writes faster than it is read, and no more can be buffered: {error}"
            );
            contents.end = Some(Err(error.into()));
            Disconnected
        })
    }

    /// Stores the end.
    pub(super) fn end(&self, end: Result<(), BoxError>) {
        self.lock().end.get_or_insert(end);
    }

    /// Takes the beginning, if the app has sent it.
    pub(crate) fn take_start(&self) -> Option<Start> {
        self.lock().start.take()
    }

    /// Takes the next chunk or the end, which is `Some(None)`. `None` means that the app has to run first.
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

/// Chunks in memory, and after them the contents of a file.
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
        // A single chunk of any size stays in memory: it is allocated already.
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
            return Err(io::Error::other("1 GiB is buffered already"));
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
        let mailbox = Mailbox::new(Head::framed(Bytes::new()));
        assert!(mailbox.next().is_none());
        mailbox.put(Bytes::from_static(b"a")).unwrap();
        mailbox.end(Err("broken".into()));
        mailbox.end(Ok(()));
        assert_eq!(mailbox.next().unwrap().unwrap().unwrap(), "a");
        assert!(mailbox.next().unwrap().unwrap().is_err());
        assert!(mailbox.next().is_none());
    }
}
