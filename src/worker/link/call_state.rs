//! A call in a worker. Its response goes to the server in frames, as far as the server has granted credit.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use tracing::field::display;
use ziggurat_middleware::Problem;
use ziggurat_middleware::timing::RequestClock;

use super::ByNumber;
use super::frame::{self, CallTimes, LARGEST, LARGEST_INLINE, ToServer, WINDOW};
use super::outbox::Outbox;
use crate::call::BodyFailure;
use crate::call::encoded_head::EncodedHead;
use crate::call::head::Head;
use crate::call::pipe::{Disconnected, RemoteWriter, Writer};
use crate::call::responder::RemoteResponder;

/// The most octets of the fields of a response, so that its head and a short body fit in one frame. A reason phrase has up to 64 KiB.
const LARGEST_FIELDS: usize = LARGEST - LARGEST_INLINE - 65 * 1024;

/// The calls of this worker, by number.
pub(crate) type Calls = Mutex<ByNumber<Entry>>;

/// What the thread that reads the link knows about a call.
pub(crate) struct Entry {
    pub(crate) state: Arc<CallState>,
    /// Where the rest of the request's body goes.
    pub(crate) body: Option<Writer<Arc<BodyFailure>>>,
}

/// The state of one call, shared by the thread that reads the link and the one that runs the app.
pub(crate) struct CallState {
    number: u64,
    /// Of the request, for the log.
    head: Head,
    outbox: Arc<Outbox>,
    credit: Mutex<Credit>,
    room: Condvar,
    /// The server has been told that the call is over.
    is_done: AtomicBool,
    /// Of a call that is timed.
    timing: Option<CallTiming>,
}

/// What a call that is timed measures.
pub(crate) enum CallTiming {
    /// The app's thread: when it has begun with the call, in nanoseconds since the worker got it; 0 before that.
    Thread { since: Instant, begun: AtomicU64 },
    /// The layers above the app, too.
    Layers(RequestClock),
}

struct Credit {
    octets: usize,
    is_cancelled: bool,
    /// A thread waits and was not notified yet.
    is_awaited: bool,
}

impl CallState {
    pub(crate) fn new(number: u64, head: Head, outbox: Arc<Outbox>, timing: Option<CallTiming>) -> Self {
        let credit = Mutex::new(Credit { octets: WINDOW, is_cancelled: false, is_awaited: false });
        Self { number, head, outbox, credit, room: Condvar::new(), is_done: AtomicBool::new(false), timing }
    }

    /// The number of the call.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The head of its request.
    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    /// The clock of a call whose layers are timed.
    pub(crate) const fn clock(&self) -> Option<&RequestClock> {
        match &self.timing {
            Some(CallTiming::Layers(clock)) => Some(clock),
            Some(CallTiming::Thread { .. }) | None => None,
        }
    }

    /// How long the app's thread has had a call that is timed.
    fn thread_time(&self, now: Instant) -> Option<Duration> {
        match self.timing.as_ref()? {
            CallTiming::Thread { since, begun } => match begun.load(Ordering::Relaxed) {
                0 => None,
                begun => Some(now.saturating_duration_since(*since).saturating_sub(Duration::from_nanos(begun))),
            },
            CallTiming::Layers(clock) => clock.thread_time(now.into()),
        }
    }

    /// Puts what is new of the times of layers before a frame. The time of the app's thread goes there if the frame itself does not have it.
    fn put_times(&self, out: &mut Vec<u8>, thread: Option<Duration>) {
        if let Some(times) = CallTimes::of(self.clock(), thread) {
            frame::put_times(out, self.number, &times);
        }
    }

    /// Lets so many more octets of the response go.
    pub(crate) fn grant(&self, octets: usize) {
        let mut credit = self.lock();
        credit.octets = credit.octets.saturating_add(octets);
        if std::mem::take(&mut credit.is_awaited) {
            self.room.notify_one();
        }
    }

    /// Notes that the client has left.
    pub(crate) fn cancel(&self) {
        let mut credit = self.lock();
        credit.is_cancelled = true;
        if std::mem::take(&mut credit.is_awaited) {
            self.room.notify_one();
        }
    }

    /// Returns a call that the app has not begun with to the server.
    pub(crate) fn give_back(&self) {
        self.is_done.store(true, Ordering::Relaxed);
        self.outbox.send(|out| ToServer::Returned(self.number).put(out));
    }

    fn lock(&self) -> MutexGuard<'_, Credit> {
        self.credit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up to `wanted` octets of the credit.
    fn take(&self, wanted: usize) -> Result<usize, Disconnected> {
        let mut credit = self.lock();
        if credit.is_cancelled {
            return Err(Disconnected);
        }
        let taken = wanted.min(credit.octets);
        credit.octets -= taken;
        Ok(taken)
    }

    /// Blocks this thread until there is credit.
    fn wait(&self) {
        let mut credit = self.lock();
        while credit.octets == 0 && !credit.is_cancelled {
            credit.is_awaited = true;
            credit = self.room.wait(credit).unwrap_or_else(PoisonError::into_inner);
            credit.is_awaited = false;
        }
    }

    /// Answers with a 500, because no frame can hold the head.
    fn refuse_head(&self) {
        let head = self.head.view();
        let (request_id, request) = (head.request_id(), display(head.summary()));
        tracing::error!(
            request_id,
            request,
            "the headers of the app's response are larger than 4 MiB, the most that a worker can send: the client gets 500"
        );
        self.fail(&Problem::new(StatusCode::INTERNAL_SERVER_ERROR));
    }
}

impl RemoteResponder for CallState {
    fn begin(&self, begun: Instant) {
        if let Some(CallTiming::Thread { since, begun: at }) = &self.timing {
            let nanos = u64::try_from(begun.saturating_duration_since(*since).as_nanos());
            at.store(nanos.unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.lock().is_cancelled
    }

    fn takes_whole(&self, length: usize) -> bool {
        length <= LARGEST_INLINE
    }

    fn whole(&self, head: &EncodedHead, body: &[u8], is_last: bool) -> bool {
        if head.size() > LARGEST_FIELDS {
            self.refuse_head();
            return true;
        }
        if is_last {
            self.is_done.store(true, Ordering::Relaxed);
        }
        let now = Instant::now();
        self.outbox.send_at(now, |out| {
            self.put_times(out, None);
            frame::put_response(out, self.number, self.thread_time(now), head, body, is_last);
        });
        !self.is_cancelled()
    }

    fn file(&self, head: &EncodedHead, file: OwnedFd, part: Range<u64>) -> bool {
        if head.size() > LARGEST_FIELDS {
            self.refuse_head();
            return true;
        }
        // The descriptor goes with the first octet of its frame.
        self.outbox.post(|out| self.put_times(out, None));
        let thread = self.thread_time(Instant::now());
        self.outbox.send_descriptor(|out| frame::put_response_file(out, self.number, thread, head, &part), file);
        !self.is_cancelled()
    }

    fn fail(&self, problem: &Problem) {
        let detail = Bytes::copy_from_slice(problem.shown().as_bytes());
        let report = ToServer::Failed(self.number, problem.status().as_u16(), detail);
        let thread = self.thread_time(Instant::now());
        self.outbox.send(|out| {
            self.put_times(out, thread);
            report.put(out);
        });
    }

    fn hint(&self, head: &EncodedHead) {
        if !self.is_cancelled() {
            self.outbox.send(|out| frame::put_hint(out, self.number, head));
        }
    }

    fn start(&self, head: &EncodedHead) -> bool {
        if self.is_cancelled() {
            return false;
        }
        if head.size() > LARGEST_FIELDS {
            self.refuse_head();
            return false;
        }
        let thread = self.thread_time(Instant::now());
        self.outbox.send(|out| {
            self.put_times(out, None);
            frame::put_response_head(out, self.number, thread, head);
        });
        true
    }

    fn try_send(&self, mut chunk: Bytes) -> Result<Option<Bytes>, Disconnected> {
        while !chunk.is_empty() {
            let count = self.take(chunk.len().min(LARGEST_INLINE))?;
            if count == 0 {
                return Ok(Some(chunk));
            }
            let part = chunk.split_to(count);
            self.outbox.send_chunk(self.number, &part);
        }
        Ok(None)
    }

    fn send(&self, mut chunk: Bytes) -> Result<(), Disconnected> {
        while let Some(rest) = self.try_send(chunk)? {
            self.wait();
            chunk = rest;
        }
        Ok(())
    }

    fn finish(&self) {
        self.outbox.send(|out| {
            self.put_times(out, None);
            ToServer::BodyEnd(self.number).put(out);
        });
    }

    fn abort(&self, why: &str) {
        let report = ToServer::BodyFailed(self.number, Bytes::copy_from_slice(why.as_bytes()));
        self.outbox.send(|out| report.put(out));
    }
}

/// The permit of a call in a worker. Dropping it tells the server that the thread is free.
pub(crate) struct LinkPermit {
    pub(crate) state: Arc<CallState>,
    pub(crate) calls: Arc<Calls>,
}

impl Drop for LinkPermit {
    fn drop(&mut self) {
        let entry = self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.state.number);
        drop(entry);
        if !self.state.is_done.swap(true, Ordering::Relaxed) {
            // Sent along with the next response, or when this thread has nothing to do.
            self.state.outbox.post(|out| ToServer::Done(self.state.number).put(out));
        }
    }
}

/// The server as the sender of a request's body.
pub(crate) struct FromServer(pub(crate) Arc<CallState>);

impl RemoteWriter for FromServer {
    fn grant(&self, octets: usize) {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX);
        self.0.outbox.send(|out| ToServer::Credit(self.0.number, octets).put(out));
    }

    /// The end of the call tells the server.
    fn abandon(&self) {}
}
