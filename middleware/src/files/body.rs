//! A part of a file, or several, as a body.

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

use crate::coop::{STEP, poll_room, poll_turn};

/// Octets read at once.
const CHUNK: u64 = STEP as u64;

/// Octets of a file that the system is taken to read and to drop at once. It reads ahead 128 KiB.
const STRETCH: u64 = 64 << 10;

/// A part of a file as a body.
///
/// What the page cache holds is read at once (preadv2(2), `RWF_NOWAIT`), and the rest on tokio's blocking pool. If the file is shorter than the part, the
/// body fails at its end, so that no client takes the response for complete.
///
/// ```
/// use ziggurat_middleware::{Body, FileBody};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # use http_body_util::BodyExt;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("report.csv");
/// # std::fs::write(&path, "year,visitors\n")?;
/// let file = std::fs::File::open(path)?;
/// let length = file.metadata()?.len();
/// let body = Body::new(FileBody::new(file, 0..length));
/// # assert_eq!(body.collect().await?.to_bytes(), "year,visitors\n");
/// # Ok(())
/// # }
/// ```
pub struct FileBody {
    file: Arc<OwnedFd>,
    pieces: VecDeque<Piece>,
    reading: Option<JoinHandle<Result<Bytes, Errno>>>,
}

/// A part of a file that is to be sent.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// The file.
    pub file: Arc<OwnedFd>,
    /// Where the part begins.
    pub at: u64,
    /// Its length, [`FilePart::LONGEST`] at most.
    pub len: usize,
}

impl FilePart {
    /// The longest part.
    pub const LONGEST: usize = 256 << 10;
}

/// A frame of a body, or a part of a file in the place of its octets.
#[derive(Debug)]
pub enum FileFrame {
    /// A frame.
    Frame(Frame<Bytes>),
    /// A part of a file.
    Part(FilePart),
}

/// A piece of the body.
pub(crate) enum Piece {
    /// These octets.
    Text(Bytes),
    /// This part of the file.
    Part(Range<u64>),
}

impl FileBody {
    /// The octets of `file` in `part`. The descriptor's own position does not matter and does not change.
    pub fn new(file: impl Into<OwnedFd>, part: Range<u64>) -> Self {
        let part = Some(Piece::Part(part)).filter(|piece| piece.length() > 0);
        Self::of_pieces(Arc::new(file.into()), part.into_iter().collect::<VecDeque<_>>())
    }

    /// Text and parts of the file, one after the other. No part is empty.
    pub(crate) fn of_pieces(file: Arc<OwnedFd>, pieces: impl Into<VecDeque<Piece>>) -> Self {
        Self { file, pieces: pieces.into(), reading: None }
    }

    /// The next frame, or a part of the file of which the page cache holds at least an octet of each [`STRETCH`], so that sending it hardly ever waits for the disk.
    pub(crate) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<FileFrame>>> {
        if self.reading.is_none()
            && let Some(Piece::Part(part)) = self.pieces.front_mut()
            // Before the page cache is asked, which would else be asked again.
            && let () = ready!(poll_room(cx, STEP))
            && let len @ 1.. = cached(&self.file, part)
        {
            ready!(poll_turn(cx, STEP));
            let at = part.start;
            part.start += len as u64;
            if part.is_empty() {
                self.pieces.pop_front();
            }
            return Poll::Ready(Some(Ok(FileFrame::Part(FilePart { file: Arc::clone(&self.file), at, len }))));
        }
        http_body::Body::poll_frame(Pin::new(self), cx).map_ok(FileFrame::Frame)
    }

    /// Removes the octets that were read from the first piece.
    fn take(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        let Some(Piece::Part(part)) = self.pieces.front_mut() else { return Err(io::ErrorKind::InvalidData.into()) };
        if bytes.is_empty() {
            self.pieces.clear();
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
        }
        part.start += bytes.len() as u64;
        if part.is_empty() {
            self.pieces.pop_front();
        }
        Ok(bytes)
    }
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Part(part) => part.end.saturating_sub(part.start),
        }
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
                return Poll::Ready(Some(bytes.and_then(|bytes| this.take(bytes)).map(Frame::data)));
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
            ready!(poll_turn(cx, len));
            match read_cached(&this.file, at, len) {
                Ok(bytes) => return Poll::Ready(Some(this.take(bytes).map(Frame::data))),
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
        SizeHint::with_exact(self.pieces.iter().map(Piece::length).sum())
    }
}

fn chunk(part: &Range<u64>) -> usize {
    usize::try_from((part.end - part.start).min(CHUNK)).unwrap_or(0)
}

/// How many octets from the beginning of a part on are in the page cache, judged by the ends of each stretch: the system reads and drops files in larger pieces.
fn cached(file: &OwnedFd, part: &Range<u64>) -> usize {
    let is_cached = |at| matches!(preadv2(file, &mut [IoSliceMut::new(&mut [0])], at, ReadWriteFlags::NOWAIT), Ok(1));
    let end = part.end.min(part.start.saturating_add(FilePart::LONGEST as u64));
    let mut held = part.start;
    if is_cached(held) {
        while held < end {
            let next = end.min(held + STRETCH);
            if !is_cached(next - 1) {
                break;
            }
            held = next;
        }
    }
    usize::try_from(held - part.start).unwrap_or(0)
}

/// Reads from the page cache; `EAGAIN` if that is not possible (preadv2(2), `RWF_NOWAIT`).
fn read_cached(file: &OwnedFd, at: u64, len: usize) -> Result<Bytes, Errno> {
    let mut buffer = vec![0; len];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut buffer)], at, ReadWriteFlags::NOWAIT)?;
    buffer.truncate(read);
    Ok(buffer.into())
}

/// Reads `len` octets at `at`; fewer only at the end of the file.
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;

    use http_body::Body as _;

    use super::*;

    #[tokio::test]
    async fn a_file_gives_other_tasks_their_turn_after_64_kib() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'x'; 4 << 20]).unwrap();
        let pieces = (0..64).map(|piece| Piece::Part(piece << 10..64 << 10)).chain([Piece::Part(0..4 << 20)]);
        let mut body = FileBody::of_pieces(Arc::new(file.into()), pieces.collect::<VecDeque<_>>());
        let (mut received, mut turns) = (0, Vec::new());
        let expected = body.size_hint().lower();
        poll_fn(|cx| {
            let before = received;
            while let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) {
                let Some(frame) = frame else { return Poll::Ready(()) };
                received += frame.unwrap().into_data().unwrap().len();
            }
            turns.push(received - before);
            Poll::Pending
        })
        .await;
        assert_eq!(received as u64, expected);
        assert!(turns.iter().all(|octets| *octets <= 64 << 10), "{turns:?}");
    }
}
