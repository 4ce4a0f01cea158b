//! The process that stays root and reads. It can do nothing else: it has given up the other capabilities of root.

use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use ziggurat_middleware::system_words;

use super::safe_path::{Unsafe, check};
use super::{Readable, Reply, Request, read_line, write_line};
use crate::tls::{files, pem};

/// Answers until the server is gone.
///
/// # Errors
///
/// If the link breaks, or root has to keep what it need not have.
pub(crate) fn run(link: &UnixStream) -> io::Result<()> {
    give_up()?;
    answer(link)
}

/// Keeps what reads files of other users, if the process has it. Files of root need no capability.
fn give_up() -> io::Result<()> {
    set_no_new_privs(true)?;
    let kept = capabilities(None)?.permitted & CapabilitySet::DAC_READ_SEARCH;
    Ok(set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?)
}

pub(super) fn answer(mut link: &UnixStream) -> io::Result<()> {
    let mut requests = BufReader::new(link);
    let Some(readable) = read_line::<Readable>(&mut requests)? else { return Ok(()) };
    while let Some(request) = read_line::<Request>(&mut requests)? {
        let mut octets = Vec::new();
        let reply = match &request {
            Request::Read(file) => readable.read(file).map(|read| {
                octets = read;
                Reply::Octets(octets.len())
            }),
            Request::Pairs(folder) => readable.pairs(folder).map(Reply::Pairs),
        };
        write_line(&mut link, &reply.unwrap_or_else(Reply::Failed))?;
        link.write_all(&octets)?;
    }
    Ok(())
}

/// What was not named when the server started. The server says the file, so the reason has no subject.
const UNNAMED: &str = "only root can read it, and it was not named when the server started: restart the server";

impl Readable {
    fn read(&self, file: &Path) -> Result<Vec<u8>, String> {
        let is_named = self.files.iter().any(|named| named == file) || self.folders.iter().any(|named| is_pair_in(named, file));
        if !is_named {
            return Err(UNNAMED.to_owned());
        }
        check(file).map_err(changeable)?;
        pem::octets(file).map_err(|error| system_words(&error))
    }

    fn pairs(&self, folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>, String> {
        if !self.folders.iter().any(|named| named == folder) {
            return Err(UNNAMED.to_owned());
        }
        check(&folder.join("*")).map_err(changeable)?;
        files::pairs_in(folder).map_err(|error| system_words(&error))
    }
}

/// Whether a file is in a folder, or in one that is in it.
fn is_pair_in(folder: &Path, file: &Path) -> bool {
    file.strip_prefix(folder)
        .is_ok_and(|rest| rest.components().count() <= 2 && rest.components().all(|component| matches!(component, Component::Normal(_))))
}

fn changeable(folder: Unsafe) -> String {
    match folder {
        Unsafe::Changeable(folder) => format!(
            "only root can read it, and other users than root can change `{}`: make that folder root's, or let the server's user read the file",
            folder.display()
        ),
        Unsafe::Unreadable(error) => system_words(&error),
    }
}
