//! A model of the pipe: loom runs two threads in every order in which they can take turns, and finds an end that waits for ever.

use std::future::poll_fn;

use bytes::Bytes;
use loom::thread;

use ends::{Disconnected, Reader, Writer, pipe};

/// The same source as the pipe's own, over loom's locks.
#[allow(dead_code, unreachable_pub, clippy::duplicate_mod)]
#[path = "ends.rs"]
mod ends;

/// A pipe of the model has no file.
#[allow(dead_code, clippy::unused_self)]
mod overflow {
    pub(super) struct Overflow;

    impl Overflow {
        pub(super) fn added(&mut self, _: usize, _: bool) {}

        pub(super) fn took(&mut self, _: usize, _: usize) {}

        pub(super) fn ended(&self) {}
    }
}

mod sync {
    pub(super) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(super) use std::sync::PoisonError;
}

#[derive(Debug, PartialEq, Eq)]
struct Cut;

impl From<Disconnected> for Cut {
    fn from(_: Disconnected) -> Self {
        Self
    }
}

const CHUNK: Bytes = Bytes::from_static(b"abc");
const CHUNKS: usize = 2;

/// Runs a model in every order with up to this many interruptions of a thread that could go on. More take minutes, and find nothing that these do not.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A pipe that holds one chunk, and a thread that writes several.
fn written() -> (Reader<Cut>, thread::JoinHandle<Result<(), Disconnected>>) {
    let (writer, reader): (Writer<Cut>, _) = pipe(4, false);
    let writing = thread::spawn(move || {
        for _ in 0..CHUNKS {
            writer.send(CHUNK)?;
        }
        writer.finish();
        Ok(())
    });
    (reader, writing)
}

#[test]
fn two_threads_never_wait_for_each_other() {
    check(|| {
        let (reader, writing) = written();
        for _ in 0..CHUNKS {
            assert_eq!(reader.recv(), Some(Ok(CHUNK)));
        }
        assert_eq!((reader.recv(), writing.join().unwrap()), (None, Ok(())));
    });
}

#[test]
fn a_task_and_a_thread_never_wait_for_each_other() {
    check(|| {
        let (reader, writing) = written();
        for _ in 0..CHUNKS {
            assert_eq!(loom::future::block_on(poll_fn(|cx| reader.poll_recv(cx))), Some(Ok(CHUNK)));
        }
        assert_eq!((loom::future::block_on(poll_fn(|cx| reader.poll_recv(cx))), writing.join().unwrap()), (None, Ok(())));
    });
}

#[test]
fn a_writer_never_waits_for_a_reader_that_left() {
    check(|| {
        let (writer, reader): (Writer<Cut>, _) = pipe(4, false);
        let writing = thread::spawn(move || while writer.send(CHUNK).is_ok() {});
        assert_eq!(reader.recv(), Some(Ok(CHUNK)));
        drop(reader);
        assert!(writing.join().is_ok());
    });
}

#[test]
fn a_reader_never_waits_for_a_writer_that_left() {
    check(|| {
        let (writer, reader): (Writer<Cut>, _) = pipe(4, false);
        let writing = thread::spawn(move || drop(writer));
        assert_eq!((reader.recv(), reader.recv()), (Some(Err(Cut)), None));
        writing.join().unwrap();
    });
}
