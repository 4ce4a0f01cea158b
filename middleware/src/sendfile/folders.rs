//! The declared folders, and which of their files a name stands for.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::Finding;
use crate::files::{self, Entry, Identities, Opened, Root, Symlinks, below, target};

/// The folders whose files may be sent.
#[derive(Debug)]
pub(super) struct Folders {
    folders: Vec<Folder>,
    dotfiles: bool,
    identities: Identities,
}

#[derive(Debug)]
struct Folder {
    at: Option<PathBuf>,
    root: Root,
}

/// Why no file is sent; follows "the app answered with `...`, ".
pub(super) enum Refusal {
    /// There is no such file.
    NotFound(String),
    /// The file cannot be opened.
    Failed(Errno),
}

/// A file with its name below the folder.
type FoundFile = (Vec<u8>, Opened);

impl Folders {
    pub(super) fn new(dotfiles: bool) -> Self {
        Self { folders: Vec::new(), dotfiles, identities: Identities::default() }
    }

    pub(super) const fn identities(&self) -> &Identities {
        &self.identities
    }

    pub(super) fn add(&mut self, at: Option<&str>, root: PathBuf, symlinks: Symlinks) -> Result<(), Finding> {
        let root = files::root(std::path::absolute(root)?, symlinks, "create it, or name the folder that holds the files")?;
        self.folders.push(Folder { at: at.map(PathBuf::from), root });
        Ok(())
    }

    /// The file that `X-Accel-Redirect` names: a path below one of the `at`, perhaps with a query.
    pub(super) fn by_uri(&self, uri: &[u8]) -> Result<FoundFile, Refusal> {
        if uri.starts_with(b"@") {
            return Err(Refusal::NotFound("which is a named location of nginx; give a path below an `at`".to_owned()));
        }
        let path = uri.split(|octet| *octet == b'?').next().unwrap_or_default();
        let places = self.folders.iter().filter_map(|folder| Some((folder, below(path, folder.at.as_deref()?)?)));
        self.open(places.min_by_key(|(_, rest)| rest.len()), "which lies below the `at` of no folder")
    }

    /// The file that `X-Sendfile` names: an absolute path in one of the folders.
    ///
    /// Apache and lighttpd decode it, and some frameworks do not encode it. Both readings are tried, because the name of an uploaded file must not become that of
    /// another user's file.
    pub(super) fn by_path(&self, path: &[u8]) -> Result<FoundFile, Refusal> {
        let decoded = self.by_encoded_path(path);
        if !path.contains(&b'%') {
            return decoded;
        }
        let encoded: Vec<u8> =
            path.iter().flat_map(|octet| if *octet == b'%' { &b"%25"[..] } else { std::slice::from_ref(octet) }).copied().collect();
        match (decoded, self.by_encoded_path(&encoded)) {
            (Ok(_), Ok(_)) => Err(Refusal::NotFound("which names one file as it is and another percent-decoded".to_owned())),
            (decoded, Err(Refusal::NotFound(_))) => decoded,
            (Err(Refusal::NotFound(_)), plain) => plain,
            (_, failed) => failed,
        }
    }

    fn by_encoded_path(&self, path: &[u8]) -> Result<FoundFile, Refusal> {
        let places = self.folders.iter().filter_map(|folder| {
            let declared = folder.root.path();
            // An app may know the folder by its resolved name, as Django's `BASE_DIR`.
            let rest = below(path, declared).or_else(|| below(path, &declared.canonicalize().ok()?))?;
            Some((folder, rest))
        });
        self.open(places.min_by_key(|(_, rest)| rest.len()), "which is no absolute path inside a declared folder")
    }

    fn open(&self, place: Option<(&Folder, &[u8])>, elsewhere: &str) -> Result<FoundFile, Refusal> {
        let refused = |why: &str| Err(Refusal::NotFound(why.to_owned()));
        let Some((folder, rest)) = place else { return refused(elsewhere) };
        let Ok(target) = target(rest, b"", self.dotfiles) else {
            return refused(
                "which has a part that no file sent may have: `..`, a hidden name, an empty one, an encoded slash, a backslash, NUL",
            );
        };
        if target.folder {
            return refused("which ends in a slash and so names no file");
        }
        let shown = |root: &Path| root.display().to_string();
        match folder.root.open(&target.name) {
            Ok(Entry::File(file)) => Ok((target.name, file)),
            Ok(Entry::Folder) => refused("which is a folder"),
            Ok(Entry::Nothing(absent)) => {
                Err(Refusal::NotFound(format!("and in `{}` nothing is sent for it: {}", shown(folder.root.path()), absent.reason())))
            }
            Err(errno) => Err(Refusal::Failed(errno)),
        }
    }
}
