//! Files of a folder as responses: names, links, conditions, ranges. `static` and `sendfile` use it.

mod body;
mod conditions;
mod identity;
pub(crate) mod kind;
mod ranges;
mod response;
mod root;
mod target;

use std::path::PathBuf;

use rustix::io::Errno;

use crate::{Finding, system_words};

pub(crate) use body::read;
pub use body::{FileBody, FileFrame, FilePart};
pub(crate) use conditions::PRECONDITIONS;
pub(crate) use identity::Identities;
pub(crate) use ranges::RequestedRanges;
pub(crate) use response::{Answer, Identified, Representation};
pub(crate) use root::{Absent, Entry, Opened, Root, Stamp, Symlinks};
pub(crate) use target::{Target, Unnamed, below, target};

/// Checks the URL path below which the files of a folder appear.
pub(crate) fn check_at(at: &str) -> Option<Finding> {
    (!at.starts_with('/')).then(|| Finding::new(format!("`{at}` is not a URL path")).hint(format!("write `\"/{at}\"`")))
}

/// Opens a folder; `missing` is the hint if it does not exist.
pub(crate) fn root(path: PathBuf, symlinks: Symlinks, missing: &str) -> Result<Root, Finding> {
    let shown = path.display().to_string();
    Root::new(path, symlinks).map_err(|errno| {
        let finding = Finding::new(format!("cannot open the folder `{shown}`: {}", reason(errno)));
        if errno == Errno::NOENT { finding.hint(missing) } else { finding }
    })
}

/// A system error in words.
pub(crate) fn reason(errno: Errno) -> String {
    system_words(&errno.into())
}
