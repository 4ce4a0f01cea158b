//! Sends parts of a file.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};
use tokio::task::{JoinHandle, spawn_blocking};

/// Octets read at once.
const CHUNK: u64 = 128 << 10;

/// Text and parts of one file, one after the other.
///
/// What the kernel has in memory is read at once; what it would have to wait for is read on the blocking pool. A file that
/// became shorter ends in an error, so that no client takes the answer for whole.
pub(crate) struct FileBody {
    file: Arc<OwnedFd>,
    pieces: VecDeque<Piece>,
    reading: Option<JoinHandle<Result<Bytes, Errno>>>,
}

/// A piece of the body.
pub(crate) enum Piece {
    /// These octets.
    Text(Bytes),
    /// This part of the file.
    Part(Range<u64>),
}

impl FileBody {
    pub(crate) fn new(file: OwnedFd, pieces: impl Into<VecDeque<Piece>>) -> Self {
        Self { file: Arc::new(file), pieces: pieces.into(), reading: None }
    }

    /// Takes what was read off the part in front.
    fn take(&mut self, bytes: Bytes) -> io::Result<Frame<Bytes>> {
        let Some(Piece::Part(part)) = self.pieces.front_mut() else { return Err(io::ErrorKind::InvalidData.into()) };
        if bytes.is_empty() {
            self.pieces.clear();
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
        }
        part.start += bytes.len() as u64;
        if part.is_empty() {
            self.pieces.pop_front();
        }
        Ok(Frame::data(bytes))
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        loop {
            if let Some(job) = &mut this.reading {
                let read = ready!(Pin::new(job).poll(cx));
                this.reading = None;
                let bytes = read.map_err(io::Error::other).and_then(|read| read.map_err(io::Error::from));
                return Poll::Ready(Some(bytes.and_then(|bytes| this.take(bytes))));
            }
            let (at, len) = match this.pieces.front_mut() {
                None => return Poll::Ready(None),
                Some(Piece::Part(part)) => (part.start, chunk(part)),
                Some(Piece::Text(text)) => {
                    let text = std::mem::take(text);
                    this.pieces.pop_front();
                    return Poll::Ready(Some(Ok(Frame::data(text))));
                }
            };
            match read_cached(&this.file, at, len) {
                Ok(bytes) => return Poll::Ready(Some(this.take(bytes))),
                Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => {
                    let file = Arc::clone(&this.file);
                    this.reading = Some(spawn_blocking(move || read(&file, at, len)));
                }
                Err(errno) => return Poll::Ready(Some(Err(errno.into()))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.reading.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(
            self.pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.len() as u64,
                    Piece::Part(part) => part.end - part.start,
                })
                .sum(),
        )
    }
}

fn chunk(part: &Range<u64>) -> usize {
    usize::try_from((part.end - part.start).min(CHUNK)).unwrap_or(0)
}

/// Reads without waiting for a disk; `EAGAIN` where that is not possible (preadv2(2), `RWF_NOWAIT`).
fn read_cached(file: &OwnedFd, at: u64, len: usize) -> Result<Bytes, Errno> {
    let mut buffer = vec![0; len];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut buffer)], at, ReadWriteFlags::NOWAIT)?;
    buffer.truncate(read);
    Ok(buffer.into())
}

/// Reads `len` octets from `at`; fewer only where the file ends.
pub(crate) fn read(file: &OwnedFd, at: u64, len: usize) -> Result<Bytes, Errno> {
    let mut buffer = Vec::with_capacity(len);
    while buffer.len() < len {
        let at = at + buffer.len() as u64;
        match pread(file, spare_capacity(&mut buffer), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // The allocator may have given more room than asked.
    buffer.truncate(len);
    Ok(buffer.into())
}
