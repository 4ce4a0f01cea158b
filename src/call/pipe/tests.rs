//! Pipes: when a writer waits, and what a reader gets.

use std::future::poll_fn;
use std::thread;

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use bytes::Bytes;

use super::ends::SMALL;
use super::*;

impl From<Disconnected> for String {
    fn from(abandoned: Disconnected) -> Self {
        abandoned.to_string()
    }
}

#[test]
fn a_writer_is_held_back_at_the_budget() {
    let (writer, reader) = pipe::<String>(4, false);
    assert_eq!(writer.try_send(Bytes::from_static(b"abc")), Ok(None));
    assert_eq!(writer.try_send(Bytes::from_static(b"de")), Ok(Some(Bytes::from_static(b"de"))));
    assert_eq!(reader.try_recv(), Some(Some(Ok(Bytes::from_static(b"abc")))));
    assert_eq!(writer.try_send(Bytes::from_static(b"defgh")), Ok(None), "one chunk of any size fits an empty pipe");
}

#[test]
fn a_writer_learns_that_the_reader_left() {
    let (writer, reader) = pipe::<String>(1, false);
    writer.put(Bytes::from_static(b"x"));
    let waiting = thread::spawn(move || writer.send(Bytes::from_static(b"y")));
    drop(reader);
    assert_eq!(waiting.join().unwrap(), Err(Disconnected));
}

#[tokio::test]
async fn octets_cross_from_a_thread_to_a_task_in_order() {
    let (writer, reader) = pipe::<String>(2, false);
    let sender = thread::spawn(move || {
        for n in 0..100_u8 {
            writer.send(Bytes::copy_from_slice(&[n])).unwrap();
        }
        writer.fail("cut".to_owned());
    });
    let mut octets = Vec::new();
    let end = loop {
        match poll_fn(|cx| reader.poll_recv(cx)).await {
            Some(Ok(chunk)) => octets.extend_from_slice(&chunk),
            end => break end,
        }
    };
    assert_eq!((octets, end), ((0..100).collect(), Some(Err("cut".to_owned()))));
    sender.join().unwrap();
}

#[test]
fn small_chunks_that_wait_are_joined_and_stay_in_order() {
    let (writer, reader) = pipe::<String>(1 << 20, false);
    let large = Bytes::from(vec![b'x'; SMALL]);
    for chunk in [Bytes::from_static(b"a"), Bytes::from_static(b"b"), Bytes::from_static(b"c"), large.clone(), Bytes::from_static(b"d")] {
        writer.put(chunk);
    }
    writer.finish();
    let taken: Vec<_> = std::iter::from_fn(|| reader.recv()).map(Result::unwrap).collect();
    assert_eq!(taken, [Bytes::from_static(b"a"), Bytes::from_static(b"bc"), large, Bytes::from_static(b"d")]);
}

/// Records grants.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<(Vec<usize>, bool)>>);

impl RemoteWriter for Notes {
    fn grant(&self, octets: usize) {
        self.0.lock().unwrap().0.push(octets);
    }

    fn abandon(&self) {
        self.0.lock().unwrap().1 = true;
    }
}

#[test]
fn a_sender_elsewhere_is_granted_what_was_taken_and_told_of_a_reader_that_left() {
    let notes = Notes::default();
    let (writer, reader) = remote_pipe::<String>(8, false, Box::new(notes.clone()));
    for chunk in [b"ab", b"cd"] {
        writer.put(Bytes::from_static(chunk));
        reader.try_recv().unwrap();
    }
    assert_eq!(notes.0.lock().unwrap().0, [4], "not for every chunk");
    drop(reader);
    assert!(notes.0.lock().unwrap().1);
}

#[test]
fn a_sender_elsewhere_cannot_send_more_than_it_was_granted() {
    let (writer, reader) = remote_pipe::<String>(4, false, Box::new(Notes::default()));
    assert_eq!(writer.accept(Bytes::from_static(b"abcd")), Ok(()));
    assert_eq!(writer.accept(Bytes::from_static(b"e")), Err(Bytes::from_static(b"e")));
    reader.try_recv().unwrap();
    assert_eq!(writer.accept(Bytes::from_static(b"e")), Ok(()));
}

#[test]
fn a_lazy_sender_elsewhere_is_granted_the_budget_when_the_reader_asks() {
    let notes = Notes::default();
    let (_writer, reader) = remote_pipe::<String>(8, true, Box::new(notes.clone()));
    assert!(notes.0.lock().unwrap().0.is_empty());
    assert_eq!(reader.try_recv(), None);
    assert_eq!(notes.0.lock().unwrap().0, [8]);
}

#[test]
fn a_writer_that_is_dropped_breaks_the_pipe() {
    let (writer, reader) = pipe::<String>(1, false);
    drop(writer);
    assert_eq!(reader.recv(), Some(Err("broken off before the end".to_owned())));
    assert_eq!(reader.recv(), None);
}

#[test]
fn a_lazy_pipe_takes_nothing_before_the_reader_asks() {
    let (writer, reader) = pipe::<String>(8, true);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(writer.poll_room(&mut cx).is_pending());
    assert_eq!(reader.try_recv(), None);
    assert!(writer.poll_room(&mut cx).is_ready());
}
