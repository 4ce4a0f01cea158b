//! Memory that both ends of a link have in common, so that the chunks of bodies need not pass through the socket: a ring for each direction.
//!
//! The sender copies a chunk into its ring, and a frame says where it is. The receiver copies it out as soon as it reads the frame, and reports how far it
//! has read. Frames keep their order on the socket, so a chunk is complete before its frame is read. Where the ring has no room, the chunk is a part of
//! its frame. No end waits for the other one.
//!
//! Neither end trusts the other one: positions are checked, and no reference to the memory exists, so what the other process writes there at the wrong
//! time can spoil octets of its own bodies only.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::process::{Pid, getpid};

use super::frame::LARGEST_INLINE;

/// The size of a ring, in octets. It bounds what one direction of a link has in memory on the way.
pub(crate) const RING: usize = 512 * 1024;

/// A smaller chunk goes with its frame: a short copy through the socket costs no more than the bookkeeping.
pub(crate) const LEAST: usize = 4 * 1024;

/// The marks come first, in cache lines of their own.
const MARKS: usize = 4096;

const LENGTH: usize = MARKS + 2 * RING;

/// The memory of one link, mapped into this process.
pub(crate) struct SharedMemory(Arc<MmapRaw>);

/// The end that writes to a ring.
pub(crate) struct RingWriter {
    ring: Ring,
    /// The position of the next octet. Positions only grow; the place in the ring is the rest of the division by [`RING`].
    next: u64,
    /// Everything before this position has been read.
    read: u64,
    /// A process that this one forks has the memory, too, but must not write there.
    owner: Pid,
}

/// The end that reads from a ring.
pub(crate) struct RingReader {
    ring: Ring,
    /// Everything before this position has been read.
    read: u64,
}

impl SharedMemory {
    /// Makes the memory of a new link. The descriptor is for the other end.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let memory = memfd_create("ziggurat-link", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&memory, LENGTH as u64)?;
        // The other process could otherwise shorten it, and a read beyond its end kills a process.
        fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self(map(&memory)?), memory))
    }

    /// Maps the memory that the other end has made.
    pub(crate) fn received(memory: &OwnedFd) -> io::Result<Self> {
        if usize::try_from(fstat(memory)?.st_size) != Ok(LENGTH) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self(map(memory)?))
    }

    /// The rings of the server.
    pub(crate) fn of_server(self) -> (RingWriter, RingReader) {
        self.ends(0, 1)
    }

    /// The rings of the worker.
    pub(crate) fn of_worker(self) -> (RingWriter, RingReader) {
        self.ends(1, 0)
    }

    fn ends(self, written: usize, read: usize) -> (RingWriter, RingReader) {
        let ring = |nth| Ring { memory: Arc::clone(&self.0), nth };
        (RingWriter { ring: ring(written), next: 0, read: 0, owner: getpid() }, RingReader { ring: ring(read), read: 0 })
    }
}

impl RingWriter {
    /// Copies a chunk into the ring, and returns its position for the other end. `None` if it has no place there now.
    pub(crate) fn put(&mut self, chunk: &[u8]) -> Option<u64> {
        if !(LEAST..=LARGEST_INLINE).contains(&chunk.len()) || getpid() != self.owner {
            return None;
        }
        // What the other end says is believed only as far as it can be true.
        self.read = self.ring.mark().load(Ordering::Acquire).clamp(self.read, self.next);
        let rest = RING - place(self.next);
        // An empty ring begins again at its start, so that a fast reader is sent the same few pages again and again.
        let skipped = if (self.read == self.next && rest < RING) || rest < chunk.len() { rest as u64 } else { 0 };
        let at = self.next + skipped;
        if self.read == self.next {
            self.read = at;
        }
        let end = at + chunk.len() as u64;
        if end - self.read > RING as u64 {
            return None;
        }
        self.ring.write(place(at), chunk);
        self.next = end;
        Some(at)
    }
}

impl RingReader {
    /// Copies the chunk at a position out of the ring. `None` if the other end cannot have put one there.
    pub(crate) fn take(&mut self, at: u64, length: usize) -> Option<Bytes> {
        let end = at.checked_add(length as u64)?;
        if at < self.read || length > LARGEST_INLINE || place(at) + length > RING {
            return None;
        }
        let chunk = self.ring.read(place(at), length);
        self.read = end;
        self.ring.mark().store(end, Ordering::Release);
        Some(chunk)
    }
}

fn map(memory: &OwnedFd) -> io::Result<Arc<MmapRaw>> {
    MmapOptions::new().len(LENGTH).map_raw(memory).map(Arc::new)
}

/// The place of a position in the ring.
const fn place(position: u64) -> usize {
    (position % RING as u64) as usize
}

/// One of the two rings.
struct Ring {
    memory: Arc<MmapRaw>,
    nth: usize,
}

/// Each access to the memory of another process says why it is sound.
#[allow(unsafe_code)]
impl Ring {
    /// How far the reader has read.
    fn mark(&self) -> &AtomicU64 {
        const { assert!((MARKS / 2).is_multiple_of(align_of::<AtomicU64>())) };
        // SAFETY: the mark lies within the mapping and is aligned, because a mapping begins at a page. Both processes access it as an atomic only.
        unsafe { AtomicU64::from_ptr(self.octet(self.nth * (MARKS / 2)).cast()) }
    }

    /// Panics if the chunk would not lie within the ring.
    fn write(&self, place: usize, chunk: &[u8]) {
        assert!(place <= RING && chunk.len() <= RING - place);
        // SAFETY: the octets lie within the mapping, and no reference to them exists in this process: they are copied in here, and copied out in `read`.
        unsafe { ptr::copy_nonoverlapping(chunk.as_ptr(), self.octet(MARKS + self.nth * RING + place), chunk.len()) };
    }

    /// Panics if the chunk would not lie within the ring.
    fn read(&self, place: usize, length: usize) -> Bytes {
        assert!(place <= RING && length <= RING - place);
        let mut chunk = BytesMut::with_capacity(length);
        // SAFETY: the octets lie within the mapping, and the chunk has room for as many. If the other process writes there meanwhile, which its program
        // does not do, the copy has some of the old and some of the new octets: any octet is a valid `u8`.
        unsafe { ptr::copy_nonoverlapping(self.octet(MARKS + self.nth * RING + place).cast_const(), chunk.as_mut_ptr(), length) };
        // SAFETY: as many octets were written just now.
        unsafe { chunk.set_len(length) };
        chunk.freeze()
    }

    /// Panics beyond the end.
    fn octet(&self, offset: usize) -> *mut u8 {
        assert!(offset <= LENGTH);
        // SAFETY: the offset lies within the mapping, or is its end.
        unsafe { self.memory.as_mut_ptr().add(offset) }
    }
}

#[cfg(test)]
mod tests;
