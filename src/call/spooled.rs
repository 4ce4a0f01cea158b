//! The body of a request in a temporary file: written by the server, and read by whoever runs the app, in this process or another.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ziggurat_middleware::spool::{Reserved, SpoolFile};

/// A body in a file without a name. Clones share the file, which is gone with the last one.
#[derive(Clone)]
pub(crate) struct SpooledBody(Arc<Contents>);

struct Contents {
    file: File,
    length: u64,
    /// The disk space, in the process that counts it.
    _reserved: Option<Reserved>,
}

impl SpooledBody {
    /// A file that another process has written.
    pub(crate) fn received(file: OwnedFd, length: u64) -> Self {
        Self(Arc::new(Contents { file: file.into(), length, _reserved: None }))
    }

    pub(crate) fn length(&self) -> u64 {
        self.0.length
    }

    /// Up to `limit` octets from `at` on; none at the end. Several processes may have the file open, so its own position does not count.
    pub(crate) fn read(&self, at: u64, limit: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.0.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut block = BytesMut::zeroed(left.min(limit));
        self.0.file.read_exact_at(&mut block, at)?;
        Ok(block.freeze())
    }
}

impl From<SpoolFile> for SpooledBody {
    fn from(file: SpoolFile) -> Self {
        let (file, length, reserved) = file.into_parts();
        Self(Arc::new(Contents { file, length, _reserved: Some(reserved) }))
    }
}

impl AsFd for SpooledBody {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}
