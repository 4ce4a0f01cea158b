//! Which version of a file it is: by its time of change, or by its content where the time means nothing.
//!
//! Archives, images of containers, package builds and `rsync -t` set the times of files. Two releases of a file may then have the same time and length. The kernel
//! keeps the time of the last change of a file's status, too, which no program sets: if the two differ, the content identifies the file.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::fstat;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::body::read;
use super::conditions::Validators;
use super::root::{Opened, Stamp};

/// The largest file that is read for its identity. A larger one is identified by its times and its place on the disk.
const LARGEST: u64 = 64 << 20;

/// The largest content of a file that says that it has none, as those of `/proc` do.
const LARGEST_UNSIZED: usize = 1 << 20;

/// How many identities are kept.
const MOST: usize = 16_384;

/// Octets that are read at a time.
const BLOCK: usize = 1 << 20;

/// 1990-01-01: no file is older, and builds set earlier times as a sign that they mean nothing.
const EARLIEST: i64 = 631_152_000;

/// A digest of a file's content.
type ContentId = [u8; 16];

/// The identities of files that were read for them.
#[derive(Debug, Default)]
pub(crate) struct Identities(Mutex<HashMap<(u64, u64), KnownContent>>);

/// The content of a version of a file.
#[derive(Debug)]
struct KnownContent {
    stamp: Stamp,
    id: ContentId,
}

impl Identities {
    /// The validators of a file, if they are known without reading it. `variant` distinguishes the tag of a compressed sibling.
    pub(crate) fn known(&self, file: &Opened, variant: &str) -> Option<Validators> {
        let stamp = file.stamp;
        if stamp.len == 0 {
            return None;
        }
        if time_tells(&stamp) {
            return Some(Validators::new(
                format!("{:x}.{:x}-{:x}{variant}", stamp.modified.0, stamp.modified.1, stamp.len),
                Some(stamp.modified.0),
            ));
        }
        if stamp.len > LARGEST {
            let Stamp { len, changed, inode: (device, inode), .. } = stamp;
            let tag = format!("{:x}.{:x}-{len:x}-{device:x}.{inode:x}{variant}", changed.0, changed.1);
            return Some(Validators::new(tag, plausible(&stamp)));
        }
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.get(&stamp.inode).filter(|known| known.stamp == stamp)?;
        Some(of_content(&known.id, &stamp, variant))
    }

    /// Reads the file for its validators. A file that says that it is empty gets its content.
    pub(crate) async fn learn(&self, file: &mut Opened, variant: &str) -> io::Result<Validators> {
        let (fd, stamp) = (file.file.try_clone()?, file.stamp);
        let learnt = spawn_blocking(move || Learnt::of(&fd, stamp)).await??;
        Ok(self.keep(learnt, file, variant))
    }

    /// As [`Identities::learn`], on this thread.
    pub(crate) fn learn_here(&self, file: &mut Opened, variant: &str) -> io::Result<Validators> {
        let learnt = Learnt::of(&file.file, file.stamp)?;
        Ok(self.keep(learnt, file, variant))
    }

    fn keep(&self, learnt: Learnt, file: &mut Opened, variant: &str) -> Validators {
        let stamp = file.stamp;
        match learnt {
            Learnt::Content(content) => {
                let id = short(Sha256::digest(&content));
                // The times of a file that is made up when it is read are no times of change.
                let stamp = if content.is_empty() { stamp } else { Stamp { modified: (0, 0), ..stamp } };
                file.content = Some(content);
                of_content(&id, &stamp, variant)
            }
            Learnt::Digest(id, now) => {
                if now == stamp {
                    let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() >= MOST {
                        kept.clear();
                    }
                    kept.insert(stamp.inode, KnownContent { stamp, id });
                }
                of_content(&id, &stamp, variant)
            }
        }
    }
}

/// What reading a file has given.
enum Learnt {
    /// The content of a file that says that it is empty.
    Content(Bytes),
    /// A digest of the content, and what the file system says of the file afterwards.
    Digest(ContentId, Stamp),
}

impl Learnt {
    fn of(file: &OwnedFd, stamp: Stamp) -> io::Result<Self> {
        if stamp.len == 0 {
            return unsized_content(file).map(Self::Content);
        }
        digest(file, stamp.len).map(|(id, now)| Self::Digest(id, now))
    }
}

fn of_content(id: &ContentId, stamp: &Stamp, variant: &str) -> Validators {
    let digits: String = id.iter().map(|octet| format!("{octet:02x}")).collect();
    Validators::new(format!("{digits}{variant}"), plausible(stamp))
}

/// Whether nobody has set the time of change.
fn time_tells(stamp: &Stamp) -> bool {
    // The two are of the same clock tick, and a write may take a while.
    plausible(stamp).is_some() && (0..=1).contains(&(stamp.changed.0 - stamp.modified.0))
}

/// The time of change, if it can be one.
fn plausible(stamp: &Stamp) -> Option<i64> {
    Some(stamp.modified.0).filter(|modified| *modified >= EARLIEST)
}

fn digest(file: &OwnedFd, len: u64) -> io::Result<(ContentId, Stamp)> {
    let (mut digest, mut at) = (Sha256::new(), 0);
    while at < len {
        let block = read(file, at, BLOCK)?;
        if block.is_empty() {
            break;
        }
        at += block.len() as u64;
        digest.update(&block);
    }
    Ok((short(digest.finalize()), Stamp::of(&fstat(file)?)))
}

fn unsized_content(file: &OwnedFd) -> io::Result<Bytes> {
    let content = read(file, 0, LARGEST_UNSIZED + 1)?;
    if content.len() > LARGEST_UNSIZED {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file says that it is empty, and holds more than 1 MiB"));
    }
    Ok(content)
}

fn short(digest: impl AsRef<[u8]>) -> ContentId {
    let mut id = ContentId::default();
    id.copy_from_slice(&digest.as_ref()[..16]);
    id
}
