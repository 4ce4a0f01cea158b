//! How files of certificates, keys and lists are read: by this process, and where only root may, by one that stays root.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ziggurat_middleware::Finding;

use super::root_reader::RootReader;
use super::{files, pem};

/// Reads files for a listener.
#[derive(Clone, Debug, Default)]
pub struct FileAccess {
    root: Option<Arc<RootReader>>,
}

impl FileAccess {
    /// Also what only root can read, with this reader.
    pub(crate) const fn as_root(reader: Arc<RootReader>) -> Self {
        Self { root: Some(reader) }
    }

    /// The octets of a file.
    pub(super) fn read(&self, file: &Path) -> Result<Vec<u8>, Finding> {
        let read = match (pem::octets(file), &self.root) {
            (Err(error), Some(root)) if error.kind() == ErrorKind::PermissionDenied => root.read(file),
            (read, _) => read,
        };
        read.map_err(|error| pem::unread(file, &error))
    }

    /// The paths of certificates and keys in a folder. If there is a process of root, it looks: this one may see the folder, and not what is in it.
    pub(super) fn pairs_in(&self, folder: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
        self.root.as_ref().map_or_else(|| files::pairs_in(folder), |root| root.pairs(folder))
    }
}
