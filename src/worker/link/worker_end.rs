//! The worker's end of the link: one thread that reads what the front says, and never needs the interpreter.
//!
//! It sees the front go, whatever Python is doing: a worker does not outlive its front.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use rustix::net::{RecvFlags, recv};

use super::call_state::{CallState, Calls, Entry, FromServer, LinkPermit};
use super::frame::{CallBody, Malformed, ToWorker, WINDOW};
use super::outbox::{LOOK, Outbox};
use crate::call::head::Head;
use crate::call::pipe::remote_pipe;
use crate::call::responder::Responder;
use crate::call::{BodyFailure, Call, CallSignal, RequestBody};

/// Who serves the calls of a link.
pub(crate) trait CallHandler: Send + Sync {
    /// Takes a call; [`CallHandler::begin`] follows when no more are at hand.
    fn put(&self, call: Call, permit: LinkPermit);

    /// Begins with what was put.
    fn begin(&self);

    /// Takes out a call that nobody has begun with.
    fn recall(&self, number: u64) -> Option<(Call, LinkPermit)>;

    /// A signal about a call that somebody has begun with.
    fn signal(&self, number: u64, signal: CallSignal);

    /// The stacks of all threads are wanted in the log.
    fn stacks(&self);

    /// Log files are to be opened again.
    fn reopen(&self);

    /// Calls at hand are to be finished, and no more will come.
    fn stop(&self);
}

/// Why the link is at its end.
#[derive(Debug)]
pub(crate) enum End {
    /// The front is gone.
    Gone,
    /// The front says what nobody understands.
    Malformed(Malformed),
}

/// The worker's end of a link.
pub(crate) struct WorkerEnd {
    outbox: Arc<Outbox>,
    calls: Arc<Calls>,
    octets: BytesMut,
    /// What a read fills. (To read into `octets` would need them zeroed first.)
    block: Box<[u8]>,
}

/// How much is read at once.
const READ: usize = 256 * 1024;

impl WorkerEnd {
    /// Over a socket.
    pub(crate) fn new(socket: UnixStream) -> std::io::Result<Self> {
        let outbox = Arc::new(Outbox::new(socket)?);
        Ok(Self { outbox, calls: Arc::default(), octets: BytesMut::new(), block: vec![0; READ].into() })
    }

    /// The way out.
    pub(crate) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// The way out and what was read beyond the last signal, for who goes on otherwise.
    pub(crate) fn into_parts(self) -> (Arc<Outbox>, BytesMut) {
        (self.outbox, self.octets)
    }

    /// Waits for the next signal; for what precedes the calls.
    pub(crate) fn next(&mut self) -> Result<ToWorker, End> {
        loop {
            if let Some(order) = ToWorker::take(&mut self.octets).map_err(End::Malformed)? {
                return Ok(order);
            }
            self.wait_and_read()?;
        }
    }

    /// Hears the front until it is gone.
    pub(crate) fn run(mut self, handler: &dyn CallHandler) -> End {
        loop {
            let heard = self.handle(handler);
            handler.begin();
            // No thread tells the front of calls that were dropped before one began with them.
            self.outbox.nudge();
            if let Err(end) = heard.and_then(|()| self.wait_and_read()) {
                return end;
            }
        }
    }

    fn handle(&mut self, handler: &dyn CallHandler) -> Result<(), End> {
        while let Some(order) = ToWorker::take(&mut self.octets).map_err(End::Malformed)? {
            match order {
                ToWorker::Call(number, head, body) => {
                    let (call, permit) = self.call(number, head, body);
                    handler.put(call, permit);
                }
                ToWorker::Body(number, octets) => self.with(number, |entry| {
                    if let Some(body) = &entry.body {
                        body.put(octets);
                    }
                }),
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
                    // Where nobody has begun with it, nobody has to.
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
                ToWorker::Stop => handler.stop(),
                ToWorker::Boot(_) | ToWorker::Fork => return Err(End::Malformed(Malformed("a signal that does not belong among calls"))),
            }
        }
        Ok(())
    }

    fn call(&self, number: u64, head: Bytes, body: CallBody) -> (Call, LinkPermit) {
        let state = Arc::new(CallState::new(number, Arc::clone(&self.outbox)));
        let (body, writer) = match body {
            CallBody::Whole(octets) => (RequestBody::Whole(octets), None),
            stream => {
                let (writer, reader) = remote_pipe(WINDOW, stream == CallBody::Lazy, Box::new(FromServer(Arc::clone(&state))));
                (RequestBody::Stream(reader), Some(writer))
            }
        };
        let entry = Entry { state: Arc::clone(&state), body: writer };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(number, entry);
        let permit = LinkPermit { state: Arc::clone(&state), calls: Arc::clone(&self.calls) };
        let call = Call { number, head: Head::framed(head), body, responder: Responder::Remote(state), class: 0, since: Instant::now() };
        (call, permit)
    }

    fn with(&self, number: u64, then: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.calls.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&number) {
            then(entry);
        }
    }

    /// Reads what is there, once something is.
    fn wait_and_read(&mut self) -> Result<(), End> {
        loop {
            match recv(self.outbox.socket(), &mut *self.block, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(End::Gone),
                Ok((count, _)) => {
                    self.octets.extend_from_slice(&self.block[..count]);
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(),
                Err(_) => return Err(End::Gone),
            }
        }
    }

    /// Waits until there is something to read, and meanwhile sends what the socket did not take, and what is held.
    fn wait(&self) {
        let until = self.outbox.look().then_some(Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) });
        let is_stuck = self.outbox.is_stuck();
        let wanted = if is_stuck { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut polled = [PollFd::new(self.outbox.socket(), wanted), PollFd::from_borrowed_fd(self.outbox.bell(), PollFlags::IN)];
        // An interruption only means another round.
        let _ = poll(&mut polled, until.as_ref());
        if polled[1].revents().contains(PollFlags::IN) {
            let _ = read(self.outbox.bell(), &mut [0; 8]);
        }
        if polled[0].revents().contains(PollFlags::OUT) {
            self.outbox.flush();
        }
    }
}

#[cfg(test)]
mod tests;
