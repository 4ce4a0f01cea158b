//! A body that is being received: in memory, and from some length on in a file without a name.

mod budget;
mod room;

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

pub use self::budget::{SpoolBudget, SpoolOptions};
pub use self::room::{Reserved, Room};
use crate::Problem;

/// The least memory that a body takes, and the most while its rest goes to a file.
const STEP: u64 = 64 << 10;

/// What has been received of a body. If it is dropped, nothing stays: the file has no name.
#[derive(Debug)]
pub struct Spool {
    budget: Arc<SpoolBudget>,
    length: u64,
    /// What is in no file yet, and the room for it.
    memory: Vec<u8>,
    reserved: Shares,
    file: Option<SpoolFile>,
}

/// A body's share of the memory of all bodies, and of that of its connection.
#[derive(Debug)]
struct Shares {
    of_all: Reserved,
    of_connection: Option<Reserved>,
}

/// The memory that the request bodies of one connection may take, as a fact of a request. A connection that carries several requests at once has it, so that one
/// client cannot take the memory of all.
#[derive(Clone, Debug)]
pub struct ConnectionRoom(pub Arc<Room>);

/// A whole body.
#[derive(Debug)]
pub enum Spooled {
    /// In memory, with the room that it takes.
    Memory(Bytes),
    /// In a file.
    File(SpoolFile),
}

/// A temporary file without a name, and the disk space that it takes.
#[derive(Debug)]
pub struct SpoolFile {
    file: File,
    length: u64,
    reserved: Reserved,
}

impl Spool {
    /// For a body of this length, as far as that is known.
    ///
    /// # Errors
    ///
    /// 413 if it is too long.
    pub fn new(budget: Arc<SpoolBudget>, connection: Option<&ConnectionRoom>, length: Option<u64>) -> Result<Self, Problem> {
        if length.is_some_and(|length| length > budget.limit()) {
            return Err(budget.too_large());
        }
        let reserved = Shares { of_all: budget.memory().share(), of_connection: connection.map(|connection| connection.0.share()) };
        Ok(Self { budget, length: 0, memory: Vec::new(), reserved, file: None })
    }

    /// How much was received.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Takes in what was received next.
    ///
    /// # Errors
    ///
    /// 413 if the body is too long, 503 if there is no room for it or no file can be opened for now, 500 if the file cannot be written.
    pub async fn push(&mut self, data: Bytes) -> Result<(), Problem> {
        if self.length + data.len() as u64 > self.budget.limit() {
            return Err(self.budget.too_large());
        }
        match self.hold(data) {
            None => Ok(()),
            Some(data) => {
                self.length += data.len() as u64;
                self.write(data).await
            }
        }
    }

    /// Takes in what was received next, if it fits into memory. Returns it otherwise.
    pub fn hold(&mut self, data: Bytes) -> Option<Bytes> {
        let wanted = self.memory.len() as u64 + data.len() as u64;
        if !self.make_room(wanted) {
            return Some(data);
        }
        // Copied, because a small frame may hold the whole buffer that it was read into.
        self.memory.extend_from_slice(&data);
        self.length += data.len() as u64;
        None
    }

    /// Makes room for so many octets in memory.
    fn make_room(&mut self, wanted: u64) -> bool {
        let room = self.reserved.of_all.octets();
        if wanted <= room {
            return true;
        }
        let most = if self.file.is_some() { self.budget.memory_of_one().min(STEP) } else { self.budget.memory_of_one() };
        let next = wanted.max(2 * room).max(STEP).min(most);
        if wanted > next || !self.reserved.grow(next - room) {
            return false;
        }
        self.memory.reserve_exact(usize::try_from(next).unwrap_or(usize::MAX) - self.memory.len());
        true
    }

    /// Writes what is in memory and then `data` to the file.
    async fn write(&mut self, data: Bytes) -> Result<(), Problem> {
        let octets = (self.memory.len() + data.len()) as u64;
        if octets == 0 {
            return Ok(());
        }
        let mut reserved = match &self.file {
            Some(_) => None,
            None => Some(self.budget.disk().share()),
        };
        match (&mut self.file, &mut reserved) {
            (Some(SpoolFile { reserved, .. }), _) | (None, Some(reserved)) => self.budget.grow(reserved, octets)?,
            (None, None) => {}
        }
        let (budget, file, mut memory) = (Arc::clone(&self.budget), self.file.take(), std::mem::take(&mut self.memory));
        let written = spawn_blocking(move || -> io::Result<_> {
            let mut spooled = match (file, reserved) {
                (Some(spooled), _) => spooled,
                (None, reserved) => {
                    let reserved = reserved.unwrap_or_else(|| budget.disk().share());
                    SpoolFile { file: tempfile::tempfile_in(budget.folder())?, length: 0, reserved }
                }
            };
            spooled.file.write_all(&memory)?;
            spooled.file.write_all(&data)?;
            spooled.length += octets;
            memory.clear();
            Ok((spooled, memory))
        });
        let (spooled, memory) = written.await.map_err(io::Error::other).and_then(|written| written).map_err(|error| {
            let cause = format!("cannot write a request body to a file in `{}`: {error}", self.budget.folder().display());
            Problem::of_system(&error, cause)
        })?;
        self.file = Some(spooled);
        self.memory = memory;
        if self.reserved.of_all.octets() > STEP {
            self.memory = Vec::new();
            self.reserved.shrink_to(0);
        }
        Ok(())
    }

    /// What was received, in memory, if no file has any of it.
    #[must_use]
    pub fn into_memory(self) -> Bytes {
        Bytes::from_owner(Held { memory: self.memory, _reserved: self.reserved })
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// As of [`Spool::push`].
    pub async fn finish(mut self) -> Result<Spooled, Problem> {
        if self.file.is_some() {
            self.write(Bytes::new()).await?;
        }
        Ok(match self.file.take() {
            Some(file) => Spooled::File(file),
            None => Spooled::Memory(self.into_memory()),
        })
    }
}

impl Shares {
    fn grow(&mut self, octets: u64) -> bool {
        if self.of_connection.as_mut().is_some_and(|share| !share.grow(octets)) {
            return false;
        }
        let has_grown = self.of_all.grow(octets);
        if let Some(share) = self.of_connection.as_mut().filter(|_| !has_grown) {
            share.shrink_to(self.of_all.octets());
        }
        has_grown
    }

    fn shrink_to(&mut self, octets: u64) {
        self.of_all.shrink_to(octets);
        if let Some(share) = &mut self.of_connection {
            share.shrink_to(octets);
        }
    }
}

/// Octets in memory. The room for them is free again when the last reader is done.
struct Held {
    memory: Vec<u8>,
    _reserved: Shares,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl SpoolFile {
    /// The file, how much it holds, and the room that it takes.
    #[must_use]
    pub fn into_parts(self) -> (File, u64, Reserved) {
        (self.file, self.length, self.reserved)
    }
}
