//! The server's end of the link to one worker: a backend whose calls another process runs.
//!
//! One task writes frames and another reads them. Handing over a call only adds its frame, so calls that come together are sent together. What is in
//! flight is bounded: short bodies go with their calls, which the admission counts, and long ones as far as the worker has granted credit.

mod receive;
mod send;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::ByNumber;
use super::frame::{CallBody, LARGEST_INLINE, SharedChunk, ToWorker, put_call};
use super::in_flight::{InFlight, split_by_begun};
use super::shared_memory::{RingReader, RingWriter, SharedMemory};
use super::upload::Upload;
use super::write_buffer::{Attachment, WriteBuffer};
use crate::call::{Call, CallSignal, RequestBody};
use crate::worker::admission::{Admission, Backend, Capacity, Permit};
use crate::worker::boot::{Boot, Ready};

/// How long a call may go on after the deadline's exception was raised in its thread.
const GRACE: Duration = Duration::from_secs(2);

/// The server's end of a link.
pub(crate) struct ServerEnd {
    me: Weak<Self>,
    admission: Arc<Admission>,
    runtime: Handle,
    state: Mutex<LinkState>,
    /// Notified when there is something to write.
    written: Notify,
    phase: watch::Sender<Phase>,
    is_stuck: watch::Sender<bool>,
}

struct LinkState {
    out: WriteBuffer,
    /// Where chunks of requests' bodies go before the socket.
    ring: Option<RingWriter>,
    calls: ByNumber<InFlight>,
    /// How many calls were handed over, and how many of them were given to the socket.
    begun: u64,
    offered: u64,
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Open,
    /// Nothing is sent or received any more. Further calls are kept for [`ServerEnd::fail_calls`].
    Ended,
    /// Further calls are returned to the admission at once.
    Failed,
}

#[derive(Clone, Debug)]
enum Phase {
    Starting,
    Ready(Ready),
    Refused(Bytes),
    Ended,
}

/// Why a worker is not ready.
#[derive(Debug)]
pub(crate) enum NotReady {
    /// It reports a reason, as JSON.
    Refused(Bytes),
    /// It ended without a report.
    Gone,
}

impl ServerEnd {
    /// Starts both tasks on the current runtime, and sends the worker `boot`.
    pub(crate) fn start(socket: std::os::unix::net::UnixStream, boot: &Boot, admission: &Arc<Admission>) -> io::Result<Arc<Self>> {
        socket.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(socket)?.into_split();
        let mut out = WriteBuffer::default();
        let (to_worker, from_worker) = share_memory(&mut out).unzip();
        out.push(&ToWorker::Boot(serde_json::to_vec(boot)?.into()));
        let link = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            admission: Arc::clone(admission),
            runtime: Handle::current(),
            state: Mutex::new(LinkState {
                out,
                ring: to_worker,
                calls: ByNumber::default(),
                begun: 0,
                offered: 0,
                connection: Connection::Open,
            }),
            written: Notify::new(),
            phase: watch::Sender::new(Phase::Starting),
            is_stuck: watch::Sender::new(false),
        });
        tokio::spawn(send::write(Arc::downgrade(&link), writer));
        tokio::spawn(receive::read(Arc::clone(&link), reader, from_worker));
        link.written.notify_one();
        Ok(link)
    }

    /// Waits until the worker reports that it is ready, or not.
    pub(crate) async fn ready(&self) -> Result<Ready, NotReady> {
        let mut phase = self.phase.subscribe();
        match phase.wait_for(|phase| !matches!(phase, Phase::Starting)).await.as_deref() {
            Ok(Phase::Ready(ready)) => Ok(*ready),
            Ok(Phase::Refused(why)) => Err(NotReady::Refused(why.clone())),
            _ => Err(NotReady::Gone),
        }
    }

    /// Waits for the end of the link: the worker died, refused, closed the link, or broke the protocol.
    pub(crate) async fn ended(&self) {
        // An error means that the link is gone.
        let _ = self.phase.subscribe().wait_for(|phase| matches!(phase, Phase::Ended | Phase::Refused(_))).await;
    }

    /// Waits until a call goes on after its deadline's exception.
    pub(crate) async fn stuck(&self) {
        let _ = self.is_stuck.subscribe().wait_for(|is_stuck| *is_stuck).await;
    }

    /// Sends a frame.
    pub(crate) fn send(&self, sequence: &ToWorker) {
        let mut state = self.lock();
        if state.connection == Connection::Open {
            state.out.push(sequence);
            drop(state);
            self.written.notify_one();
        }
    }

    /// Sends a chunk of a request's body.
    pub(crate) fn send_chunk(&self, number: u64, chunk: Bytes) {
        let mut state = self.lock();
        if state.connection == Connection::Open {
            let at = state.ring.as_mut().and_then(|ring| ring.put(&chunk));
            state.out.push(&match (at, u32::try_from(chunk.len())) {
                (Some(at), Ok(length)) => ToWorker::SharedBody(number, SharedChunk { at, length }),
                _ => ToWorker::Body(number, chunk),
            });
            drop(state);
            self.written.notify_one();
        }
    }

    /// Ends the calls of a worker that is gone. Calls that the app cannot have begun with go back to the admission; the others are answered 502 or
    /// broken off.
    pub(crate) fn fail_calls(&self, capacity: Capacity, how: &str) {
        let mut state = self.lock();
        state.connection = Connection::Failed;
        let calls = std::mem::take(&mut state.calls);
        drop(state);
        let (begun, not_begun) = split_by_begun(calls, capacity.threads);
        for call in begun {
            call.fail(how);
        }
        self.admission.take_back(not_begun);
    }

    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accesses a call, if it is not over.
    fn with<T>(&self, number: u64, then: impl FnOnce(&mut InFlight) -> T) -> Option<T> {
        self.lock().calls.get_mut(&number).map(then)
    }

    /// Whether the worker may know a call: it is over, or was given to the socket. What waits for the socket is bounded only if a worker that reads
    /// nothing cannot end calls.
    fn is_sent(&self, number: u64) -> bool {
        let state = self.lock();
        state.calls.get(&number).is_none_or(|call| call.sequence <= state.offered)
    }

    fn remove(&self, number: u64) -> Option<InFlight> {
        self.lock().calls.remove(&number)
    }

    /// Reports a call that goes on for too long after its deadline.
    async fn watch(self: Arc<Self>, number: u64) {
        tokio::time::sleep(GRACE).await;
        if self.lock().calls.contains_key(&number) {
            self.is_stuck.send_replace(true);
        }
    }
}

/// Makes the memory of a link, and sends it with the next frame. Without it, bodies go through the socket.
fn share_memory(out: &mut WriteBuffer) -> Option<(RingWriter, RingReader)> {
    let (memory, descriptor) = SharedMemory::new()
        .inspect_err(|error| tracing::debug!("a worker gets no shared memory, so bodies go through its socket: {error}"))
        .ok()?;
    out.attach(Attachment::Memory(descriptor));
    Some(memory.of_server())
}

impl Backend for ServerEnd {
    fn begin(&self, call: Call, permit: Permit) {
        let Call { number, head, body, responder, hints, class, since, clock } = call;
        let (mut upload, mut attachment) = (None, None);
        let is_websocket = matches!(body, RequestBody::WebSocket(_));
        let kept = body.again();
        let sent = match body {
            RequestBody::Whole(octets) if octets.len() <= LARGEST_INLINE => CallBody::Whole(octets),
            RequestBody::Whole(octets) => {
                upload = Some(Upload::whole(octets));
                CallBody::Stream
            }
            RequestBody::Spooled(file) => {
                let length = file.length();
                attachment = Some(Attachment::Body(file));
                CallBody::Spooled(length)
            }
            RequestBody::Stream(reader) => {
                let body = if reader.is_lazy() { CallBody::Lazy } else { CallBody::Stream };
                upload = Some(Upload::stream(reader, body == CallBody::Lazy));
                body
            }
            RequestBody::WebSocket(socket) => {
                attachment = Some(Attachment::Socket(socket));
                CallBody::Whole(Bytes::new())
            }
        };
        let mut state = self.lock();
        // A cancellation that came before this found no call.
        if responder.is_closed() {
            // Dropping the permit takes other locks.
            drop(state);
            return;
        }
        state.begun += 1;
        let sequence = state.begun;
        let connection = state.connection;
        if connection == Connection::Open {
            if let Some(attachment) = attachment {
                state.out.attach(attachment);
            }
            if is_websocket {
                state.out.push(&ToWorker::WebSocket(number, head.octets()));
            } else {
                put_call(state.out.octets(), number, head.as_bytes(), &sent, hints.is_some());
            }
        }
        let is_sent = connection == Connection::Open;
        let (handle, upload) = upload.unzip();
        let call = InFlight {
            number,
            sequence,
            is_sent,
            head,
            body: kept,
            responder: Some(responder),
            hints,
            sender: None,
            upload: handle,
            is_websocket,
            class,
            permit,
            since,
            clock,
        };
        if connection != Connection::Failed {
            state.calls.insert(number, call);
            drop(state);
            self.written.notify_one();
            // After the frame of the call itself.
            if let (Some(upload), Some(link)) = (upload, self.me.upgrade()) {
                self.runtime.spawn(upload.run(number, link));
            }
            return;
        }
        drop(state);
        match call.into_call() {
            Ok(call) => self.admission.take_back(vec![call]),
            Err(call) => call.fail("it ended before it received the request"),
        }
    }

    fn signal(&self, number: u64, signal: CallSignal) -> bool {
        let Some(is_whole) = self.with(number, |call| call.body.is_some()) else { return false };
        if signal == CallSignal::Recall && !is_whole {
            // It could not be run again.
            return true;
        }
        self.send(&match signal {
            CallSignal::Cancel => ToWorker::Cancel(number),
            CallSignal::Trace => ToWorker::Trace(number),
            CallSignal::Expire => ToWorker::Expire(number),
            CallSignal::Recall => ToWorker::Recall(number),
        });
        if signal == CallSignal::Expire
            && let Some(link) = self.me.upgrade()
        {
            self.runtime.spawn(link.watch(number));
        }
        true
    }
}

#[cfg(test)]
mod tests;
