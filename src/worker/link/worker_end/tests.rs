//! The worker's end, spoken to over a real socket, with an handler that keeps what it is given.

use std::io::{Read, Write};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::*;
use crate::call::ResponseHead;
use crate::worker::link::frame::{LARGEST_INLINE, ToServer};

#[derive(Default)]
struct Kept {
    calls: Mutex<Vec<(Call, LinkPermit)>>,
    signals: Mutex<Vec<(u64, CallSignal)>>,
}

impl Kept {
    fn next(&self) -> (Call, LinkPermit) {
        loop {
            if let Some(call) = self.calls.lock().unwrap().pop() {
                return call;
            }
            thread::yield_now();
        }
    }
}

impl CallHandler for Kept {
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

    fn stop(&self) {}
}

/// A front that speaks to a [`WorkerEnd`] in a thread of its own.
struct Front {
    socket: UnixStream,
    octets: BytesMut,
    handler: Arc<Kept>,
    outbox: Arc<Outbox>,
    running: JoinHandle<End>,
}

impl Front {
    fn new() -> Self {
        let (socket, end) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let back = WorkerEnd::new(end).unwrap();
        let (handler, outbox) = (Arc::new(Kept::default()), back.outbox());
        let keeper = Arc::clone(&handler);
        let running = thread::spawn(move || back.run(&*keeper));
        Self { socket, octets: BytesMut::new(), handler, outbox, running }
    }

    fn say(&mut self, frames: &[ToWorker]) {
        let mut out = Vec::new();
        frames.iter().for_each(|order| order.put(&mut out));
        self.socket.write_all(&out).unwrap();
    }

    fn hear(&mut self) -> ToServer {
        loop {
            if let Some(report) = ToServer::take(&mut self.octets).unwrap() {
                return report;
            }
            let mut block = [0; 4096];
            let count = self.socket.read(&mut block).unwrap();
            assert!(count > 0, "the worker has left");
            self.octets.extend_from_slice(&block[..count]);
        }
    }

    fn end(self) -> End {
        drop(self.socket);
        self.running.join().unwrap()
    }
}

fn call(number: u64, body: CallBody) -> ToWorker {
    ToWorker::Call(number, Bytes::new(), body)
}

fn whole(number: u64) -> ToWorker {
    call(number, CallBody::Whole(Bytes::new()))
}

fn ok() -> ResponseHead {
    ResponseHead { status: StatusCode::OK, reason: None, headers: HeaderMap::new(), length: None }
}

#[test]
fn a_call_that_is_recalled_in_time_comes_back_once_and_is_over() {
    let mut front = Front::new();
    front.say(&[whole(1), whole(2), ToWorker::Recall(1), ToWorker::Cancel(2), ToWorker::Recall(2), whole(3), ToWorker::Cancel(3)]);
    assert!(matches!(front.hear(), ToServer::Returned(1)));
    assert!(matches!(front.hear(), ToServer::Done(2)));
    assert!(matches!(front.hear(), ToServer::Done(3)));
    assert!(front.handler.signals.lock().unwrap().is_empty(), "signals are for calls that somebody has begun with");
    assert!(matches!(front.end(), End::Gone));
}

#[test]
fn an_answer_says_that_the_call_is_over_or_the_dropped_permit_does() {
    let mut front = Front::new();
    front.say(&[whole(1)]);
    let (call, permit) = front.handler.next();
    call.responder.whole(ok(), Bytes::from_static(b"a"), false);
    assert!(matches!(front.hear(), ToServer::Response(1, _, _, false)));
    drop(permit);
    front.outbox.nudge();
    assert!(matches!(front.hear(), ToServer::Done(1)));

    front.say(&[whole(2)]);
    let (call, permit) = front.handler.next();
    call.responder.whole(ok(), Bytes::from_static(b"b"), true);
    drop(permit);
    front.outbox.send(|out| ToServer::BodyEnd(9).put(out));
    assert!(matches!(front.hear(), ToServer::Response(2, _, _, true)));
    assert!(matches!(front.hear(), ToServer::BodyEnd(9)));
}

#[test]
fn a_request_body_comes_as_it_is_read_and_is_granted_anew() {
    let mut front = Front::new();
    front.say(&[call(1, CallBody::Lazy)]);
    let (received, _permit) = front.handler.next();
    let RequestBody::Stream(reader) = received.body else { panic!("not streamed") };
    let reading = thread::spawn(move || {
        let mut octets = 0;
        while let Some(chunk) = reader.recv() {
            octets += chunk.map_err(|failure| failure.status)?.len();
        }
        Ok::<_, StatusCode>(octets)
    });
    // The first grant is the app's question for the body.
    let ToServer::Credit(1, mut granted) = front.hear() else { panic!("no grant") };
    assert_eq!(granted as usize, WINDOW);
    let block = Bytes::from(vec![7; LARGEST_INLINE]);
    for _ in 0..20 {
        while (granted as usize) < block.len() {
            let ToServer::Credit(1, more) = front.hear() else { panic!("no grant") };
            granted += more;
        }
        front.say(&[ToWorker::Body(1, block.clone())]);
        granted -= u32::try_from(block.len()).unwrap();
    }
    front.say(&[ToWorker::BodyEnd(1), ToWorker::Body(1, block.clone())]);
    assert_eq!(reading.join().unwrap(), Ok(20 * LARGEST_INLINE));
}

#[test]
fn a_request_body_that_breaks_off_tells_why() {
    let mut front = Front::new();
    front.say(&[call(1, CallBody::Stream), ToWorker::BodyFailed(1, 413, Bytes::from_static(b"too large"))]);
    let (received, _permit) = front.handler.next();
    let RequestBody::Stream(reader) = received.body else { panic!("not streamed") };
    let failure = reader.recv().unwrap().unwrap_err();
    assert_eq!((failure.status, failure.detail.as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "too large"));
}

#[test]
fn a_cancelled_answer_stops_where_it_waits_for_room() {
    let mut front = Front::new();
    front.say(&[whole(1)]);
    let (call, _permit) = front.handler.next();
    let sending = thread::spawn(move || {
        let flow = call.responder.stream(ok()).unwrap();
        flow.send(Bytes::from(vec![7; 2 * WINDOW]))
    });
    assert!(matches!(front.hear(), ToServer::Head(1, _)));
    let mut octets = 0;
    while octets < WINDOW {
        let ToServer::Body(1, chunk) = front.hear() else { panic!("no chunk") };
        octets += chunk.len();
    }
    front.say(&[ToWorker::Cancel(1)]);
    assert!(sending.join().unwrap().is_err());
    assert!(matches!(front.hear(), ToServer::BodyFailed(1, _)));
    assert_eq!(*front.handler.signals.lock().unwrap(), [(1, CallSignal::Cancel)]);
}

#[test]
fn frames_of_many_threads_arrive_whole_over_a_socket_that_is_full_now_and_then() {
    const EACH: usize = 50;
    let mut front = Front::new();
    let senders: Vec<_> = (0..4_u64)
        .map(|number| {
            let outbox = Arc::clone(&front.outbox);
            thread::spawn(move || {
                for length in 0..EACH {
                    let chunk = Bytes::from(vec![u8::try_from(number).unwrap(); length * 997]);
                    outbox.send_with(|out| crate::worker::link::frame::put_response_body_head(out, number, chunk.len()), &chunk);
                }
            })
        })
        .collect();
    // Nothing is read before everything is said: the socket is full, and nobody waits for it.
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let mut lengths = [0; 4];
    for _ in 0..4 * EACH {
        let ToServer::Body(number, chunk) = front.hear() else { panic!("no chunk") };
        let at = usize::try_from(number).unwrap();
        assert!(chunk.len() == lengths[at] * 997 && chunk.iter().all(|octet| u64::from(*octet) == number));
        lengths[at] += 1;
    }
}

#[test]
fn what_is_no_word_among_calls_ends_the_link() {
    let mut front = Front::new();
    front.say(&[ToWorker::Fork]);
    assert!(matches!(front.running.join().unwrap(), End::Malformed(_)));
}
