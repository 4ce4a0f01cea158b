//! The worker's end over a real socket, with a handler that keeps its calls.

use std::io::{IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::*;
use crate::call::encoded_head::EncodedHead;
use crate::worker::link::frame::{LARGEST_INLINE, SharedChunk, ToServer};
use crate::worker::link::shared_memory::{RingReader, SharedMemory};

#[derive(Default)]
struct RecordingHandler {
    calls: Mutex<Vec<(Call, LinkPermit)>>,
    signals: Mutex<Vec<(u64, CallSignal)>>,
}

impl RecordingHandler {
    fn next(&self) -> (Call, LinkPermit) {
        loop {
            if let Some(call) = self.calls.lock().unwrap().pop() {
                return call;
            }
            thread::yield_now();
        }
    }
}

impl CallHandler for RecordingHandler {
    fn put(&self, call: Call, permit: LinkPermit) {
        self.calls.lock().unwrap().push((call, permit));
    }

    fn begin(&self) {}

    fn recall(&self, number: u64) -> Option<(Call, LinkPermit)> {
        let mut calls = self.calls.lock().unwrap();
        let at = calls.iter().position(|(call, _)| call.number == number)?;
        Some(calls.remove(at))
    }

    fn signal(&self, number: u64, signal: CallSignal) {
        self.signals.lock().unwrap().push((number, signal));
    }

    fn stacks(&self) {}

    fn reopen(&self) {}

    fn worker_ended(&self, _: &[u8]) {}

    fn stop(&self) {}
}

/// A server that talks to a [`WorkerEnd`] in another thread.
struct Server {
    socket: UnixStream,
    octets: BytesMut,
    handler: Arc<RecordingHandler>,
    outbox: Arc<Outbox>,
    running: JoinHandle<End>,
}

impl Server {
    fn new() -> Self {
        let (socket, end) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let back = WorkerEnd::new(end).unwrap();
        let (handler, outbox) = (Arc::new(RecordingHandler::default()), back.outbox());
        let of_thread = Arc::clone(&handler);
        let running = thread::spawn(move || back.run(&*of_thread));
        Self { socket, octets: BytesMut::new(), handler, outbox, running }
    }

    fn send(&mut self, frames: &[ToWorker]) {
        let mut out = Vec::new();
        frames.iter().for_each(|order| order.put(&mut out));
        self.socket.write_all(&out).unwrap();
    }

    fn receive(&mut self) -> ToServer {
        loop {
            if let Some(report) = ToServer::take(&mut self.octets).unwrap() {
                return report;
            }
            let mut block = [0; 4096];
            let count = self.socket.read(&mut block).unwrap();
            assert!(count > 0, "the worker has closed the link");
            self.octets.extend_from_slice(&block[..count]);
        }
    }

    fn end(self) -> End {
        drop(self.socket);
        self.running.join().unwrap()
    }
}

fn call(number: u64, body: CallBody) -> ToWorker {
    ToWorker::Call(number, Bytes::new(), body, false)
}

fn whole(number: u64) -> ToWorker {
    call(number, CallBody::Whole(Bytes::new()))
}

fn ok() -> EncodedHead {
    EncodedHead::new(StatusCode::OK, None)
}

#[test]
fn a_call_that_is_recalled_in_time_is_returned_once_and_is_over() {
    let mut server = Server::new();
    server.send(&[whole(1), whole(2), ToWorker::Recall(1), ToWorker::Cancel(2), ToWorker::Recall(2), whole(3), ToWorker::Cancel(3)]);
    assert!(matches!(server.receive(), ToServer::Returned(1)));
    assert!(matches!(server.receive(), ToServer::Done(2)));
    assert!(matches!(server.receive(), ToServer::Done(3)));
    assert!(server.handler.signals.lock().unwrap().is_empty(), "signals are for calls that have begun");
    assert!(matches!(server.end(), End::Gone));
}

#[test]
fn a_response_ends_the_call_or_the_dropped_permit_does() {
    let mut server = Server::new();
    server.send(&[whole(1)]);
    let (call, permit) = server.handler.next();
    call.responder.whole(ok(), Bytes::from_static(b"a"), false);
    assert!(matches!(server.receive(), ToServer::Response(1, _, _, false)));
    drop(permit);
    server.outbox.nudge();
    assert!(matches!(server.receive(), ToServer::Done(1)));

    server.send(&[whole(2)]);
    let (call, permit) = server.handler.next();
    call.responder.whole(ok(), Bytes::from_static(b"b"), true);
    drop(permit);
    server.outbox.send(|out| ToServer::BodyEnd(9).put(out));
    assert!(matches!(server.receive(), ToServer::Response(2, _, _, true)));
    assert!(matches!(server.receive(), ToServer::BodyEnd(9)));
}

#[test]
fn a_request_body_arrives_as_it_is_read_and_credited() {
    let mut server = Server::new();
    server.send(&[call(1, CallBody::Lazy)]);
    let (received, _permit) = server.handler.next();
    let RequestBody::Stream(reader) = received.body else { panic!("not streamed") };
    let reading = thread::spawn(move || {
        let mut octets = 0;
        while let Some(chunk) = reader.recv() {
            octets += chunk.map_err(|failure| failure.status)?.len();
        }
        Ok::<_, StatusCode>(octets)
    });
    // The first grant comes with the app's first read.
    let ToServer::Credit(1, mut granted) = server.receive() else { panic!("no grant") };
    assert_eq!(granted as usize, WINDOW);
    let block = Bytes::from(vec![7; LARGEST_INLINE]);
    for _ in 0..20 {
        while (granted as usize) < block.len() {
            let ToServer::Credit(1, more) = server.receive() else { panic!("no grant") };
            granted += more;
        }
        server.send(&[ToWorker::Body(1, block.clone())]);
        granted -= u32::try_from(block.len()).unwrap();
    }
    server.send(&[ToWorker::BodyEnd(1), ToWorker::Body(1, block.clone())]);
    assert_eq!(reading.join().unwrap(), Ok(20 * LARGEST_INLINE));
}

#[test]
fn a_request_body_that_fails_has_a_reason() {
    let mut server = Server::new();
    server.send(&[call(1, CallBody::Stream), ToWorker::BodyFailed(1, 413, Bytes::from_static(b"too large"))]);
    let (received, _permit) = server.handler.next();
    let RequestBody::Stream(reader) = received.body else { panic!("not streamed") };
    let failure = reader.recv().unwrap().unwrap_err();
    assert_eq!((failure.status, failure.detail.as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "too large"));
}

#[test]
fn a_cancelled_response_stops_waiting_for_credit() {
    let mut server = Server::new();
    server.send(&[whole(1)]);
    let (call, _permit) = server.handler.next();
    let sending = thread::spawn(move || {
        let flow = call.responder.stream(ok()).unwrap();
        flow.send(Bytes::from(vec![7; 2 * WINDOW]))
    });
    assert!(matches!(server.receive(), ToServer::Head(1, _)));
    let mut octets = 0;
    while octets < WINDOW {
        let ToServer::Body(1, chunk) = server.receive() else { panic!("no chunk") };
        octets += chunk.len();
    }
    server.send(&[ToWorker::Cancel(1)]);
    assert!(sending.join().unwrap().is_err());
    assert!(matches!(server.receive(), ToServer::BodyFailed(1, _)));
    // The handler hears of it after whoever sends.
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.handler.signals.lock().unwrap().is_empty() && Instant::now() < deadline {
        thread::yield_now();
    }
    assert_eq!(*server.handler.signals.lock().unwrap(), [(1, CallSignal::Cancel)]);
}

#[test]
fn frames_of_many_threads_arrive_whole_over_a_socket_that_is_full_now_and_then() {
    arrive_whole(Server::new(), None);
}

#[test]
fn chunks_of_many_threads_arrive_whole_through_shared_memory_that_is_full_now_and_then() {
    let server = Server::new();
    let (memory, descriptor) = SharedMemory::new().unwrap();
    server.outbox.share(SharedMemory::received(&descriptor).unwrap().of_worker().0);
    let (_, reader) = memory.of_server();
    arrive_whole(server, Some(reader));
}

fn arrive_whole(mut server: Server, mut ring: Option<RingReader>) {
    const EACH: usize = 50;
    let senders: Vec<_> = (0..4_u64)
        .map(|number| {
            let outbox = Arc::clone(&server.outbox);
            thread::spawn(move || {
                for length in 0..EACH {
                    let chunk = Bytes::from(vec![u8::try_from(number).unwrap(); length * 997]);
                    outbox.send_chunk(number, &chunk);
                }
            })
        })
        .collect();
    // Nothing is read before everything is sent: the socket is full, and nobody waits for it.
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let (mut lengths, mut shared) = ([0; 4], 0);
    for _ in 0..4 * EACH {
        let (number, chunk) = match server.receive() {
            ToServer::Body(number, chunk) => (number, chunk),
            ToServer::SharedBody(number, chunk) => {
                shared += 1;
                (number, ring.as_mut().unwrap().take(chunk.at, chunk.length as usize).unwrap())
            }
            other => panic!("no chunk: {other:?}"),
        };
        let at = usize::try_from(number).unwrap();
        assert!(chunk.len() == lengths[at] * 997 && chunk.iter().all(|octet| u64::from(*octet) == number));
        lengths[at] += 1;
    }
    assert_eq!(shared > 0, ring.is_some());
    assert!(shared < 4 * EACH, "a full ring leaves the rest to the socket");
}

#[test]
fn a_chunk_that_is_not_in_the_shared_memory_ends_the_link() {
    let mut server = Server::new();
    server.send(&[ToWorker::SharedBody(1, SharedChunk { at: 0, length: 1 })]);
    assert!(matches!(server.running.join().unwrap(), End::Malformed(_)));
}

#[test]
fn a_frame_that_does_not_belong_among_calls_ends_the_link() {
    let mut server = Server::new();
    server.send(&[ToWorker::Fork]);
    assert!(matches!(server.running.join().unwrap(), End::Malformed(_)));
}

#[test]
fn a_websocket_comes_with_its_socket_and_without_one_ends_the_link() {
    let mut server = Server::new();
    server.send(&[whole(1)]);
    let (app_end, mut other) = UnixStream::pair().unwrap();
    let mut frame = Vec::new();
    ToWorker::WebSocket(2, Bytes::from_static(b"head")).put(&mut frame);
    descriptor::send(&server.socket, &[IoSlice::new(&frame)], app_end.as_fd()).unwrap();
    drop(app_end);
    let received = [server.handler.next(), server.handler.next()].map(|(call, _)| call);
    let websocket = received.into_iter().find(|call| call.number == 2).unwrap();
    let RequestBody::WebSocket(socket) = websocket.body else { panic!("no socket") };
    UnixStream::from(socket).write_all(b"hello").unwrap();
    let mut text = String::new();
    other.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    server.send(&[ToWorker::WebSocket(3, Bytes::new())]);
    assert!(matches!(server.running.join().unwrap(), End::Malformed(_)));
}
