//! The way back of a call in a worker: frames to the front, as many as it has granted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::StatusCode;
use ziggurat_middleware::Problem;

use super::frame::{self, LARGEST_INLINE, Report, WINDOW, fits};
use super::number::ByNumber;
use super::outbox::Outbox;
use crate::call::file_body::FileBody;
use crate::call::pipe::{Abandoned, Sender, Writer};
use crate::call::{BodyFailure, ResponseHead};

/// The calls that are with this worker, by number.
pub(crate) type Calls = Mutex<ByNumber<Entry>>;

/// What the thread that reads the link knows of a call.
pub(crate) struct Entry {
    pub(crate) talk: Arc<Talk>,
    /// Where the rest of the request's body goes.
    pub(crate) body: Option<Writer<Arc<BodyFailure>>>,
}

/// What both ends of a call in this worker share.
pub(crate) struct Talk {
    number: u64,
    outbox: Arc<Outbox>,
    flow: Mutex<Credit>,
    room: Condvar,
    /// The front has been told that the call is over.
    is_done: AtomicBool,
}

struct Credit {
    octets: usize,
    is_cancelled: bool,
    is_awaited: bool,
}

impl Talk {
    pub(crate) fn new(number: u64, outbox: Arc<Outbox>) -> Self {
        let flow = Mutex::new(Credit { octets: WINDOW, is_cancelled: false, is_awaited: false });
        Self { number, outbox, flow, room: Condvar::new(), is_done: AtomicBool::new(false) }
    }

    /// So many more octets may go.
    pub(crate) fn grant(&self, octets: usize) {
        let mut flow = self.lock();
        flow.octets = flow.octets.saturating_add(octets);
        if flow.is_awaited {
            self.room.notify_one();
        }
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn cancel(&self) {
        let mut flow = self.lock();
        flow.is_cancelled = true;
        if flow.is_awaited {
            self.room.notify_one();
        }
    }

    /// Tells the front that the call comes back unbegun; it is over here.
    pub(crate) fn give_back(&self) {
        self.is_done.store(true, Ordering::Relaxed);
        self.outbox.send(|out| Report::Returned(self.number).put(out));
    }

    fn lock(&self) -> MutexGuard<'_, Credit> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up to `wanted` octets of what may go.
    fn take(&self, wanted: usize) -> Result<usize, Abandoned> {
        let mut flow = self.lock();
        if flow.is_cancelled {
            return Err(Abandoned);
        }
        let taken = wanted.min(flow.octets);
        flow.octets -= taken;
        Ok(taken)
    }

    /// Blocks this thread until something may go.
    fn wait(&self) {
        let mut flow = self.lock();
        while flow.octets == 0 && !flow.is_cancelled {
            flow.is_awaited = true;
            flow = self.room.wait(flow).unwrap_or_else(PoisonError::into_inner);
            flow.is_awaited = false;
        }
    }
}

/// Where the answer of a call goes.
pub(crate) struct LinkExit {
    talk: Arc<Talk>,
    /// Nothing of the app's is left to do once the answer is there.
    is_last: bool,
}

impl LinkExit {
    pub(crate) const fn new(talk: Arc<Talk>) -> Self {
        Self { talk, is_last: false }
    }

    /// Says that the call is over with its answer.
    pub(crate) const fn set_last(&mut self) {
        self.is_last = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.talk.lock().is_cancelled
    }

    pub(crate) fn fail(self, problem: &Problem) {
        let detail = Bytes::copy_from_slice(problem.shown().as_bytes());
        let report = Report::Failed(self.talk.number, problem.status().as_u16(), detail);
        self.talk.outbox.send(|out| report.put(out));
    }

    pub(crate) fn whole(self, head: &ResponseHead, body: Bytes) -> bool {
        if !fits(head) {
            self.refuse_head();
            return true;
        }
        if self.is_last {
            self.talk.is_done.store(true, Ordering::Relaxed);
        }
        self.talk.outbox.send(|out| frame::put_answer(out, self.talk.number, head, &body, self.is_last));
        !self.is_closed()
    }

    /// Blocks this thread until the file is sent.
    pub(crate) fn file(self, head: &ResponseHead, mut file: FileBody) -> bool {
        let Some(flow) = self.stream(head) else { return false };
        loop {
            match file.read_block() {
                Ok(Some(block)) => {
                    if flow.send(block).is_err() {
                        return false;
                    }
                }
                Ok(None) => {
                    flow.finish();
                    return true;
                }
                Err(error) => {
                    flow.fail(&error.to_string());
                    return true;
                }
            }
        }
    }

    pub(crate) fn stream(self, head: &ResponseHead) -> Option<LinkFlow> {
        if self.is_closed() {
            return None;
        }
        if !fits(head) {
            self.refuse_head();
            return None;
        }
        self.talk.outbox.send(|out| frame::put_start(out, self.talk.number, head));
        Some(LinkFlow { talk: Some(self.talk) })
    }
}

impl LinkExit {
    /// Answers for an app whose headers nobody would take.
    fn refuse_head(self) {
        tracing::error!("the headers of the app's answer are larger than a worker may send: the client gets 500");
        self.fail(&Problem::new(StatusCode::INTERNAL_SERVER_ERROR));
    }
}

/// The body of an answer that is sent as it is made. Dropped before its end, it breaks the answer off.
pub(crate) struct LinkFlow {
    talk: Option<Arc<Talk>>,
}

impl LinkFlow {
    /// Sends a chunk as far as there is room, and gives back what is left of it.
    pub(crate) fn try_send(&self, mut chunk: Bytes) -> Result<Option<Bytes>, Abandoned> {
        let Some(talk) = &self.talk else { return Err(Abandoned) };
        while !chunk.is_empty() {
            let count = talk.take(chunk.len().min(LARGEST_INLINE))?;
            if count == 0 {
                return Ok(Some(chunk));
            }
            let part = chunk.split_to(count);
            talk.outbox.send_with(|out| frame::put_chunk_head(out, talk.number, part.len()), &part);
        }
        Ok(None)
    }

    /// Sends a chunk, blocking this thread until there is room for it.
    pub(crate) fn send(&self, mut chunk: Bytes) -> Result<(), Abandoned> {
        while let Some(rest) = self.try_send(chunk)? {
            if let Some(talk) = &self.talk {
                talk.wait();
            }
            chunk = rest;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) {
        if let Some(talk) = self.talk.take() {
            talk.outbox.send(|out| Report::End(talk.number).put(out));
        }
    }

    pub(crate) fn fail(mut self, why: &str) {
        self.broken(why);
    }

    fn broken(&mut self, why: &str) {
        if let Some(talk) = self.talk.take() {
            let report = Report::Broken(talk.number, Bytes::copy_from_slice(why.as_bytes()));
            talk.outbox.send(|out| report.put(out));
        }
    }
}

impl Drop for LinkFlow {
    fn drop(&mut self) {
        self.broken("broken off before the end");
    }
}

/// A thread of this worker, taken up by a call. Dropped, it is free again, and the front is told so.
pub(crate) struct LinkSeat {
    pub(crate) talk: Arc<Talk>,
    pub(crate) calls: Arc<Calls>,
}

impl Drop for LinkSeat {
    fn drop(&mut self) {
        let entry = self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.talk.number);
        drop(entry);
        if !self.talk.is_done.swap(true, Ordering::Relaxed) {
            // It goes with the next answer, or when this thread has nothing to do.
            self.talk.outbox.post(|out| Report::Done(self.talk.number).put(out));
        }
    }
}

/// The front as the sender of a request's body.
pub(crate) struct FromFront(pub(crate) Arc<Talk>);

impl Sender for FromFront {
    fn grant(&self, octets: usize) {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX);
        self.0.outbox.send(|out| Report::Credit(self.0.number, octets).put(out));
    }

    /// The front learns it from the call's end.
    fn abandon(&self) {}
}
