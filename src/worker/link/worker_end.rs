//! The worker's end of the link: one thread that reads frames and never needs the interpreter.
//!
//! It sees the server's end close whatever Python does, so a worker does not outlive its server.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use ziggurat_middleware::timing::RequestClock;

use super::call_state::{CallState, CallTiming, Calls, Entry, FromServer, LinkPermit};
use super::descriptor;
use super::frame::{CallBody, Malformed, ToWorker, WINDOW};
use super::outbox::{LOOK, Outbox};
use super::shared_memory::{RingReader, SharedMemory};
use crate::call::head::Head;
use crate::call::hints::HintSender;
use crate::call::pipe::{Writer, remote_pipe};
use crate::call::responder::Responder;
use crate::call::spooled::SpooledBody;
use crate::call::{BodyFailure, Call, CallSignal, RequestBody};

/// Runs the calls of a link.
pub(crate) trait CallHandler: Send + Sync {
    /// Accepts a call. [`CallHandler::begin`] follows after the last call of a batch.
    fn put(&self, call: Call, permit: LinkPermit);

    /// Starts running what was accepted.
    fn begin(&self);

    /// Takes out a call that has not begun.
    fn recall(&self, number: u64) -> Option<(Call, LinkPermit)>;

    /// Sends a signal about a call that has begun.
    fn signal(&self, number: u64, signal: CallSignal);

    /// Logs the Python stacks of all threads.
    fn stacks(&self);

    /// Reopens log files.
    fn reopen(&self);

    /// Another worker has ended: which and why, as JSON.
    fn worker_ended(&self, json: &[u8]);

    /// Finishes the calls at hand; no more will come.
    fn stop(&self);
}

/// Why the link has ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The server is gone.
    Gone,
    /// The server sent a frame that is not valid.
    Malformed(Malformed),
}

/// The worker's end of a link.
pub(crate) struct WorkerEnd {
    outbox: Arc<Outbox>,
    calls: Arc<Calls>,
    octets: BytesMut,
    /// Descriptors whose frames were not handled yet.
    descriptors: VecDeque<OwnedFd>,
    /// Where chunks of requests' bodies come from, if the server shares memory.
    ring: Option<RingReader>,
    /// Whether calls are timed, and whether there are layers above the app.
    is_timed: bool,
    has_layers: bool,
    /// The target of reads. (A read into `octets` would have to zero them first.)
    block: Box<[u8]>,
    /// The last read has emptied the socket, so the next one would most likely find nothing.
    is_drained: bool,
}

/// How much is read at once.
const READ: usize = 256 * 1024;

impl WorkerEnd {
    /// Over a socket.
    pub(crate) fn new(socket: UnixStream) -> std::io::Result<Self> {
        let outbox = Arc::new(Outbox::new(socket)?);
        Ok(Self {
            outbox,
            calls: Arc::default(),
            octets: BytesMut::new(),
            descriptors: VecDeque::new(),
            ring: None,
            is_timed: false,
            has_layers: false,
            block: vec![0; READ].into(),
            is_drained: false,
        })
    }

    /// Times calls, and tells the server. `has_layers` says whether there are layers above the app.
    pub(crate) const fn time_calls(&mut self, has_layers: bool) {
        (self.is_timed, self.has_layers) = (true, has_layers);
    }

    /// The outbox of this link.
    pub(crate) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// The outbox, and what was read but not parsed, for a template.
    pub(crate) fn into_parts(self) -> (Arc<Outbox>, BytesMut) {
        (self.outbox, self.octets)
    }

    /// Waits for the next frame; for those before the first call.
    pub(crate) fn next(&mut self) -> Result<ToWorker, End> {
        loop {
            if let Some(order) = ToWorker::take(&mut self.octets).map_err(End::Malformed)? {
                if matches!(order, ToWorker::Boot(_)) {
                    self.share_memory()?;
                }
                return Ok(order);
            }
            self.wait_and_read()?;
        }
    }

    /// Maps the memory that came with the first frame.
    fn share_memory(&mut self) -> Result<(), End> {
        let Some(memory) = self.descriptors.pop_front() else { return Ok(()) };
        let memory = SharedMemory::received(&memory).map_err(|_| End::Malformed(Malformed("the memory of a link cannot be mapped")))?;
        let (writer, reader) = memory.of_worker();
        self.outbox.share(writer);
        self.ring = Some(reader);
        Ok(())
    }

    /// Handles frames until the server is gone.
    pub(crate) fn run(mut self, handler: &dyn CallHandler) -> End {
        loop {
            let heard = self.handle(handler);
            handler.begin();
            // Reports calls that were dropped before a thread began with them; no thread does.
            self.outbox.nudge();
            if let Err(end) = heard.and_then(|()| self.wait_and_read()) {
                return end;
            }
        }
    }

    fn handle(&mut self, handler: &dyn CallHandler) -> Result<(), End> {
        while let Some(order) = ToWorker::take(&mut self.octets).map_err(End::Malformed)? {
            match order {
                ToWorker::Call(number, head, body, takes_hints) => {
                    let (mut call, permit) = self.call(number, head, body)?;
                    if takes_hints {
                        let state = Arc::clone(&permit.state);
                        call.hints = Some(HintSender::Remote(state));
                    }
                    handler.put(call, permit);
                }
                ToWorker::WebSocket(number, head) => {
                    let socket = self.descriptor("a request for a WebSocket came without a socket")?;
                    let state = Arc::new(CallState::new(number, Head::framed(head), Arc::clone(&self.outbox), None));
                    let (call, permit) = self.enter(state, RequestBody::WebSocket(socket), None, Instant::now());
                    handler.put(call, permit);
                }
                ToWorker::Body(number, octets) => self.with(number, |entry| {
                    if let Some(body) = &entry.body {
                        body.put(octets);
                    }
                }),
                ToWorker::SharedBody(number, chunk) => {
                    let octets = self.ring.as_mut().and_then(|ring| ring.take(chunk.at, chunk.length as usize));
                    let octets = octets.ok_or(End::Malformed(Malformed("a chunk is not in the shared memory")))?;
                    self.with(number, |entry| {
                        if let Some(body) = &entry.body {
                            body.put(octets);
                        }
                    });
                }
                ToWorker::BodyEnd(number) => self.with(number, |entry| {
                    if let Some(body) = entry.body.take() {
                        body.finish();
                    }
                }),
                ToWorker::BodyFailed(number, status, detail) => self.with(number, |entry| {
                    if let Some(body) = entry.body.take() {
                        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
                        body.fail(Arc::new(BodyFailure { status, detail: String::from_utf8_lossy(&detail).into_owned() }));
                    }
                }),
                ToWorker::Credit(number, octets) => self.with(number, |entry| entry.state.grant(octets as usize)),
                ToWorker::Cancel(number) => {
                    self.with(number, |entry| entry.state.cancel());
                    // A call that has not begun needs no signal.
                    if handler.recall(number).is_none() {
                        handler.signal(number, CallSignal::Cancel);
                    }
                }
                ToWorker::Recall(number) => {
                    if let Some(call) = handler.recall(number) {
                        self.with(number, |entry| entry.state.give_back());
                        drop(call);
                    }
                }
                ToWorker::Trace(number) => handler.signal(number, CallSignal::Trace),
                ToWorker::Expire(number) => handler.signal(number, CallSignal::Expire),
                ToWorker::Stacks => handler.stacks(),
                ToWorker::Reopen => handler.reopen(),
                ToWorker::WorkerEnded(json) => handler.worker_ended(&json),
                ToWorker::Stop => handler.stop(),
                ToWorker::Boot(_) | ToWorker::Fork => return Err(End::Malformed(Malformed("a frame does not belong among calls"))),
            }
        }
        Ok(())
    }

    /// The descriptor that came with the current frame.
    fn descriptor(&mut self, missing: &'static str) -> Result<OwnedFd, End> {
        self.descriptors.pop_front().ok_or(End::Malformed(Malformed(missing)))
    }

    fn call(&mut self, number: u64, head: Bytes, body: CallBody) -> Result<(Call, LinkPermit), End> {
        let since = Instant::now();
        let timing = self.is_timed.then(|| match self.has_layers {
            true => CallTiming::Layers(RequestClock::of_thread(None, since.into(), None)),
            false => CallTiming::Thread { since, begun: AtomicU64::new(0) },
        });
        let state = Arc::new(CallState::new(number, Head::framed(head), Arc::clone(&self.outbox), timing));
        let (body, writer) = match body {
            CallBody::Whole(octets) => (RequestBody::Whole(octets), None),
            CallBody::Spooled(length) => {
                let file = self.descriptor("the file of a request's body is missing")?;
                (RequestBody::Spooled(SpooledBody::received(file, length)), None)
            }
            stream => {
                let (writer, reader) = remote_pipe(WINDOW, stream == CallBody::Lazy, Box::new(FromServer(Arc::clone(&state))));
                (RequestBody::Stream(reader), Some(writer))
            }
        };
        Ok(self.enter(state, body, writer, since))
    }

    /// Enters a call in the list.
    fn enter(
        &self,
        state: Arc<CallState>,
        body: RequestBody,
        writer: Option<Writer<Arc<BodyFailure>>>,
        since: Instant,
    ) -> (Call, LinkPermit) {
        let number = state.number();
        let entry = Entry { state: Arc::clone(&state), body: writer };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(number, entry);
        let permit = LinkPermit { state: Arc::clone(&state), calls: Arc::clone(&self.calls) };
        let (head, clock) = (state.head().clone(), state.clock().cloned());
        let call = Call { number, head, body, responder: Responder::Remote(state), hints: None, class: 0, since, clock };
        (call, permit)
    }

    fn with(&self, number: u64, then: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.calls.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&number) {
            then(entry);
        }
    }

    /// Waits until there is something to read, and reads it.
    fn wait_and_read(&mut self) -> Result<(), End> {
        loop {
            if std::mem::take(&mut self.is_drained) {
                self.wait()?;
            }
            match descriptor::receive(self.outbox.socket(), &mut self.block, &mut self.descriptors) {
                Ok(0) => return Err(End::Gone),
                Ok(count) => {
                    self.is_drained = count < self.block.len();
                    self.octets.extend_from_slice(&self.block[..count]);
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait()?,
                Err(_) => return Err(End::Gone),
            }
        }
    }

    /// Waits until there is something to read. Meanwhile sends frames that the socket did not take, and those that are held.
    ///
    /// # Errors
    ///
    /// If the app has closed the descriptors of the link, as code does that makes a daemon of its process.
    fn wait(&self) -> Result<(), End> {
        let until = self.outbox.look().then_some(Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) });
        let is_stuck = self.outbox.is_stuck();
        let wanted = if is_stuck { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut polled = [PollFd::new(self.outbox.socket(), wanted), PollFd::from_borrowed_fd(self.outbox.bell(), PollFlags::IN)];
        // An interruption means another round.
        let _ = poll(&mut polled, until.as_ref());
        if polled[1].revents().contains(PollFlags::IN) {
            let _ = read(self.outbox.bell(), &mut [0; 8]);
        }
        if polled[0].revents().contains(PollFlags::OUT) {
            self.outbox.flush();
        }
        if polled.iter().any(|polled| polled.revents().contains(PollFlags::NVAL)) { Err(End::Gone) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
