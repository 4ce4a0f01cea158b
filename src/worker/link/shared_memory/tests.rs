//! Chunks survive the way through a ring, and neither end believes what cannot be true.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::ftruncate;

use super::*;

/// The writer of the server, and its reader in the worker.
fn ring() -> (RingWriter, RingReader) {
    let (server, memory) = SharedMemory::new().unwrap();
    let worker = SharedMemory::received(&memory).unwrap();
    (server.of_server().0, worker.of_worker().1)
}

fn chunk(length: usize, nth: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + nth * 7) as u8).collect()
}

#[test]
fn both_directions_have_a_ring_of_their_own() {
    let (server, memory) = SharedMemory::new().unwrap();
    let (mut to_worker, mut from_worker) = server.of_server();
    let (mut to_server, mut from_server) = SharedMemory::received(&memory).unwrap().of_worker();
    let (request, response) = (chunk(LEAST, 1), chunk(LARGEST_INLINE, 2));
    let (asked, answered) = (to_worker.put(&request).unwrap(), to_server.put(&response).unwrap());
    assert_eq!(from_server.take(asked, request.len()).unwrap(), request);
    assert_eq!(from_worker.take(answered, response.len()).unwrap(), response);
}

#[test]
fn a_full_ring_takes_nothing_until_something_was_read() {
    let (mut writer, mut reader) = ring();
    let all: Vec<_> = (0..RING / LARGEST_INLINE).map(|nth| chunk(LARGEST_INLINE, nth)).collect();
    let places: Vec<_> = all.iter().map(|chunk| writer.put(chunk).unwrap()).collect();
    assert_eq!(writer.put(&chunk(LEAST, 0)), None);
    assert_eq!(reader.take(places[0], LARGEST_INLINE).unwrap(), all[0]);
    let more = chunk(LARGEST_INLINE, 99);
    let at = writer.put(&more).unwrap();
    for (place, chunk) in places.iter().zip(&all).skip(1) {
        assert_eq!(reader.take(*place, LARGEST_INLINE).unwrap(), *chunk);
    }
    assert_eq!(reader.take(at, LARGEST_INLINE).unwrap(), more);
}

#[test]
fn an_empty_ring_begins_again_at_its_start() {
    let (mut writer, mut reader) = ring();
    for nth in 0..50 {
        let chunk = chunk(LARGEST_INLINE, nth);
        let at = writer.put(&chunk).unwrap();
        assert_eq!(place(at), 0);
        assert_eq!(reader.take(at, chunk.len()).unwrap(), chunk);
    }
}

#[test]
fn short_and_huge_chunks_are_left_to_the_socket() {
    let (mut writer, _reader) = ring();
    assert_eq!(writer.put(&chunk(LEAST - 1, 0)), None);
    assert_eq!(writer.put(&chunk(LARGEST_INLINE + 1, 0)), None);
}

#[test]
fn a_reader_refuses_positions_that_the_writer_cannot_mean() {
    let (mut writer, mut reader) = ring();
    let at = writer.put(&chunk(LEAST, 0)).unwrap();
    assert!(reader.take(at, LARGEST_INLINE + 1).is_none(), "longer than any chunk");
    assert!(reader.take(RING as u64 - 1, LEAST).is_none(), "beyond the end");
    assert!(reader.take(u64::MAX, 1).is_none(), "an overflow");
    assert!(reader.take(at, LEAST).is_some());
    assert!(reader.take(at, LEAST).is_none(), "read before");
}

#[test]
fn a_writer_does_not_believe_that_more_was_read_than_written() {
    let (mut writer, reader) = ring();
    for nth in 0..RING / LARGEST_INLINE {
        writer.put(&chunk(LARGEST_INLINE, nth)).unwrap();
    }
    reader.ring.mark().store(u64::MAX, Ordering::Release);
    assert!(writer.put(&chunk(LEAST, 0)).is_some(), "all was read");
    reader.ring.mark().store(0, Ordering::Release);
    for nth in 1..RING / LARGEST_INLINE {
        writer.put(&chunk(LARGEST_INLINE, nth)).unwrap();
    }
    assert!(writer.put(&chunk(LARGEST_INLINE, 0)).is_none(), "what was read once is not unread again, and the rest is full");
}

#[test]
fn the_memory_cannot_be_made_shorter_and_has_one_size() {
    let (_, memory) = SharedMemory::new().unwrap();
    assert!(ftruncate(&memory, 0).is_err());
    let other = memfd_create("other", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&other, LENGTH as u64 - 1).unwrap();
    assert!(SharedMemory::received(&other).is_err());
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written_in_any_order_of_steps(steps in vec(prop_oneof![
        3 => (LEAST..=LARGEST_INLINE).prop_map(Some),
        2 => Just(None),
    ], 1..200)) {
        let (mut writer, mut reader) = ring();
        let mut waiting = VecDeque::new();
        for (nth, step) in steps.into_iter().enumerate() {
            match step {
                Some(length) => {
                    let octets = chunk(length, nth);
                    if let Some(at) = writer.put(&octets) {
                        waiting.push_back((at, octets));
                    } else {
                        prop_assert!(waiting.len() > 1, "a ring with room takes a chunk");
                    }
                }
                None => if let Some((at, octets)) = waiting.pop_front() {
                    prop_assert_eq!(reader.take(at, octets.len()).unwrap(), octets);
                },
            }
        }
        for (at, octets) in waiting {
            prop_assert_eq!(reader.take(at, octets.len()).unwrap(), octets);
        }
    }
}
