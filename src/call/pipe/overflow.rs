//! What happens to a pipe whose reader is slow: its chunks go to a file, so that the writer gets on.
//!
//! The file holds what comes before the chunks in the pipe. A reader that has read all of it goes on in the pipe.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use ziggurat_middleware::BoxError;
use ziggurat_middleware::spool::{Reserved, SpoolBudget};

use super::ends::{PipeState, Reader, Shared, wake};
use crate::call::chunks::ChunkSource;

/// A reader that takes less than the pipe holds within this time is slow.
const PATIENCE: Duration = Duration::from_millis(100);

/// How many octets of the file are read at once.
const BLOCK: u64 = 64 * 1024;

/// The file of a pipe, and what decides about its use.
pub(super) struct Overflow {
    budget: Arc<SpoolBudget>,
    /// Starts the task.
    start: Box<dyn Fn() + Send>,
    /// For the chunks in the pipe.
    memory: Reserved,
    disk: Reserved,
    file: Option<Arc<File>>,
    written: u64,
    read: u64,
    /// Chunks are being written: they come after those in the file and before those in the pipe.
    is_moving: bool,
    /// The task runs.
    is_watched: bool,
    /// There is no memory for the chunks in the pipe.
    is_urgent: bool,
    /// Octets that the reader has taken since the task last looked.
    taken: usize,
    /// Tells the task that the pipe is full, or over.
    changed: Arc<Notify>,
}

/// What the task does next.
enum Step {
    /// Waits until the pipe is full.
    Wait,
    /// Waits for the reader.
    Patience,
    Move(Vec<Bytes>, Arc<SpoolBudget>, Option<Arc<File>>, u64),
    Over,
}

impl Overflow {
    /// Notes that the pipe holds `waiting` octets after some were added.
    pub(super) fn added(&mut self, waiting: usize, is_full: bool) {
        let missing = (waiting as u64).saturating_sub(self.memory.octets());
        self.is_urgent |= !self.memory.grow(missing);
        if !(is_full || self.is_urgent) {
            return;
        }
        if std::mem::replace(&mut self.is_watched, true) {
            self.changed.notify_one();
        } else {
            (self.start)();
        }
    }

    /// Notes that the reader has taken octets, and that the pipe holds so many now.
    pub(super) fn took(&mut self, octets: usize, waiting: usize) {
        self.taken += octets;
        self.memory.shrink_to(waiting as u64);
    }

    /// Tells the task that the pipe is over.
    pub(super) fn ended(&self) {
        self.changed.notify_one();
    }

    /// The part of the file that was not read.
    fn unread(&self) -> Option<(Arc<File>, u64, u64)> {
        let file = self.file.as_ref().filter(|_| self.read < self.written)?;
        Some((Arc::clone(file), self.read, BLOCK.min(self.written - self.read)))
    }
}

async fn watch<E: Send + 'static>(pipe: Arc<Shared<E>>) {
    let Some(changed) = pipe.lock().overflow.as_ref().map(|overflow| Arc::clone(&overflow.changed)) else { return };
    let mut was_patient = false;
    loop {
        match pipe.step(std::mem::take(&mut was_patient)) {
            Step::Wait => changed.notified().await,
            Step::Patience => {
                sleep(PATIENCE).await;
                was_patient = true;
            }
            Step::Move(chunks, budget, file, at) => {
                let written = spawn_blocking(move || {
                    let outcome = write(&chunks, &budget, file, at);
                    (chunks, outcome)
                });
                let Ok((chunks, outcome)) = written.await else { return };
                if !pipe.moved(chunks, outcome) {
                    return;
                }
            }
            Step::Over => return,
        }
    }
}

fn write(chunks: &[Bytes], budget: &SpoolBudget, file: Option<Arc<File>>, mut at: u64) -> io::Result<Arc<File>> {
    let file = match file {
        Some(file) => file,
        None => Arc::new(tempfile::tempfile_in(budget.folder())?),
    };
    for chunk in chunks {
        file.write_all_at(chunk, at)?;
        at += chunk.len() as u64;
    }
    Ok(file)
}

impl<E> Shared<E> {
    fn step(&self, was_patient: bool) -> Step {
        let mut state = self.lock();
        let is_full = self.is_full(&state);
        let PipeState { chunks, joined, octets, ended, overflow, .. } = &mut *state;
        let Some(overflow) = overflow else { return Step::Over };
        if !(is_full || overflow.is_urgent) {
            overflow.is_watched = !*ended;
            return if *ended { Step::Over } else { Step::Wait };
        }
        let is_behind = overflow.read < overflow.written;
        if !overflow.is_urgent && !is_behind {
            if *ended {
                overflow.is_watched = false;
                return Step::Over;
            }
            // A fast reader may become slow, and no chunk would tell: the writer may be waiting.
            if !was_patient || overflow.taken >= self.budget {
                overflow.taken = 0;
                return Step::Patience;
            }
        }
        if !overflow.disk.grow(*octets as u64) {
            overflow.is_watched = false;
            return Step::Over;
        }
        if !joined.is_empty() {
            chunks.push_back(joined.split().freeze());
        }
        (overflow.is_moving, overflow.is_urgent) = (true, false);
        overflow.memory.shrink_to(0);
        *octets = 0;
        Step::Move(chunks.drain(..).collect(), Arc::clone(&overflow.budget), overflow.file.clone(), overflow.written)
    }

    /// Goes on after chunks were written, or puts them back. Returns whether the file can be written.
    fn moved(&self, moved: Vec<Bytes>, outcome: io::Result<Arc<File>>) -> bool {
        let length: usize = moved.iter().map(Bytes::len).sum();
        let mut state = self.lock();
        let Some(overflow) = &mut state.overflow else { return false };
        let is_written = outcome.is_ok();
        overflow.is_moving = false;
        match outcome {
            Ok(file) => {
                overflow.file = Some(file);
                overflow.written += length as u64;
                state.owed += length;
                self.made_room(&mut state);
            }
            Err(error) => {
                let folder = overflow.budget.folder().display();
                tracing::error!("cannot write a response to a file in `{folder}`; it waits in memory and keeps its thread: {error}");
                // The task ends, and no other begins, because the pipe still counts as watched.
                overflow.disk.shrink_to(overflow.written);
                state.octets += length;
                moved.into_iter().rev().for_each(|chunk| state.chunks.push_front(chunk));
            }
        }
        let reader = state.reader.take();
        self.grant(state);
        wake(reader);
        is_written
    }
}

/// Reads a pipe whose chunks may be in a file.
pub(crate) struct SpoolingReader<E> {
    reader: Reader<E>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl<E: Send + 'static> Reader<E> {
    /// Lets chunks that are not read go to a file, as far as the budget allows. Must be called within a runtime.
    pub(crate) fn spooling(self, budget: &Arc<SpoolBudget>) -> SpoolingReader<E> {
        let mut state = self.0.lock();
        let (is_full, waiting) = (self.0.is_full(&state), state.octets);
        let (runtime, pipe) = (Handle::current(), Arc::downgrade(&self.0));
        let overflow = state.overflow.insert(Overflow {
            start: Box::new(move || {
                if let Some(pipe) = pipe.upgrade() {
                    runtime.spawn(watch(pipe));
                }
            }),
            memory: budget.memory().share(),
            disk: budget.disk().share(),
            budget: Arc::clone(budget),
            file: None,
            written: 0,
            read: 0,
            is_moving: false,
            is_watched: false,
            is_urgent: false,
            taken: 0,
            changed: Arc::default(),
        });
        overflow.added(waiting, is_full);
        drop(state);
        SpoolingReader { reader: self, reading: None }
    }
}

impl ChunkSource for SpoolingReader<BoxError> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let pipe = &self.reader.0;
        loop {
            if let Some(reading) = &mut self.reading {
                let block = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other).and_then(|block| block);
                self.reading = None;
                if let (Ok(block), Some(overflow)) = (&block, &mut pipe.lock().overflow) {
                    overflow.taken += block.len();
                    overflow.read += block.len() as u64;
                }
                return Poll::Ready(Some(block.map_err(BoxError::from)));
            }
            let mut state = pipe.lock();
            if let Some(overflow) = &mut state.overflow {
                if let Some((file, at, length)) = overflow.unread() {
                    self.reading = Some(spawn_blocking(move || {
                        let mut block = BytesMut::zeroed(usize::try_from(length).unwrap_or(0));
                        file.read_exact_at(&mut block, at)?;
                        Ok(block.freeze())
                    }));
                    continue;
                }
                if overflow.is_moving {
                    state.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                if overflow.written > 0 {
                    // All of it was read.
                    (overflow.written, overflow.read, overflow.file) = (0, 0, None);
                    overflow.disk.shrink_to(0);
                }
            }
            return pipe.poll_take(state, cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use ziggurat_middleware::units::Size;

    use super::*;
    use crate::call::pipe::{Writer, pipe};

    const BUDGET: usize = 64 * 1024;
    const CHUNK: usize = 10_000;

    fn budget(memory: Size, disk: Size) -> Arc<SpoolBudget> {
        Arc::new(SpoolBudget::new(disk, Size(0), memory, disk, std::env::temp_dir(), "limit"))
    }

    fn chunk(nth: u8) -> Bytes {
        vec![nth; CHUNK].into()
    }

    async fn write(writer: &Writer<BoxError>, count: u8) {
        for nth in 0..count {
            poll_fn(|cx| writer.poll_room(cx)).await.unwrap();
            writer.put(chunk(nth));
        }
    }

    async fn read(reader: &mut SpoolingReader<BoxError>) -> Vec<u8> {
        let mut octets = Vec::new();
        while let Some(chunk) = poll_fn(|cx| reader.poll_chunk(cx)).await {
            octets.extend_from_slice(&chunk.unwrap());
        }
        octets
    }

    fn all(count: u8) -> Vec<u8> {
        (0..count).flat_map(|nth| vec![nth; CHUNK]).collect()
    }

    #[tokio::test]
    async fn a_writer_gets_on_though_nobody_reads_and_nothing_is_lost_or_moved() {
        for memory in [Size::mib(1), Size(0)] {
            let budget = budget(memory, Size::mib(16));
            let (writer, reader) = pipe(BUDGET, false);
            let mut reader = reader.spooling(&budget);
            write(&writer, 200).await;
            assert!(budget.disk().taken() > 0 && budget.memory().taken() <= BUDGET as u64 + CHUNK as u64);
            let ((), octets) = tokio::join!(
                async {
                    write(&writer, 100).await;
                    writer.finish();
                },
                read(&mut reader)
            );
            assert!(octets == [all(200), all(100)].concat());
            drop(reader);
            while (budget.disk().taken(), budget.memory().taken()) != (0, 0) {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_waits_when_no_disk_is_left_and_gets_on_with_the_reader() {
        let budget = budget(Size::mib(1), Size(3 * BUDGET as u64));
        let (writer, reader) = pipe(BUDGET, false);
        let mut reader = reader.spooling(&budget);
        let all_written = tokio::time::timeout(Duration::from_secs(60), write(&writer, 200)).await;
        assert!(all_written.is_err() && budget.disk().taken() > 0 && budget.disk().refusals() > 0);
        writer.finish();
        assert!(all(200).starts_with(&read(&mut reader).await));
    }

    #[tokio::test]
    async fn chunks_for_a_reader_that_has_left_are_dropped() {
        let (writer, reader) = pipe::<BoxError>(BUDGET, false);
        drop(reader.spooling(&budget(Size::mib(1), Size::mib(1))));
        let held = Arc::new(());
        struct Held(#[allow(dead_code)] Arc<()>);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &[1; 100]
            }
        }
        writer.put(Bytes::from_owner(Held(Arc::clone(&held))));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
