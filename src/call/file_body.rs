//! A part of a file as a response body, read away from the IO threads.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use ziggurat_middleware::BoxError;

/// How much is read at once.
const BLOCK: u64 = 256 * 1024;

/// The rest of a file. It owns its descriptor: the app may close the file it came from.
pub(crate) struct FileBody {
    file: Arc<File>,
    offset: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl FileBody {
    /// What lies from `offset` on, where this is an ordinary file.
    pub(crate) fn open(descriptor: BorrowedFd<'_>, offset: u64) -> io::Result<Option<Self>> {
        let file = File::from(descriptor.try_clone_to_owned()?);
        let stat = file.metadata()?;
        let left = stat.len().saturating_sub(offset);
        Ok(stat.is_file().then(|| Self { file: Arc::new(file), offset, left, reading: None }))
    }

    /// How many octets will come.
    pub(crate) const fn length(&self) -> u64 {
        self.left
    }

    /// The next block, read by this thread; `None` at the end.
    pub(crate) fn read_block(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let block = read(&self.file, self.offset, self.left.min(BLOCK))?;
        self.advance(block).map(Some)
    }

    fn advance(&mut self, block: Vec<u8>) -> io::Result<Bytes> {
        if block.is_empty() {
            let message = format!("the file ended {} octets short of the response's Content-Length", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.offset += block.len() as u64;
        self.left -= block.len() as u64;
        Ok(block.into())
    }

    /// Has so many octets come; where the file holds fewer, the body fails at its end.
    pub(crate) const fn expect(&mut self, length: u64) {
        self.left = length;
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let (offset, count) = (self.offset, self.left.min(BLOCK));
        let file = Arc::clone(&self.file);
        let reading = self.reading.get_or_insert_with(|| tokio::task::spawn_blocking(move || read(&file, offset, count)));
        let block = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(Some(self.advance(block??).map(Frame::data).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn read(file: &File, offset: u64, count: u64) -> io::Result<Vec<u8>> {
    // At most `BLOCK`, which fits.
    let mut block = vec![0; usize::try_from(count).unwrap_or(0)];
    let read = loop {
        match file.read_at(&mut block, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    block.truncate(read);
    Ok(block)
}
