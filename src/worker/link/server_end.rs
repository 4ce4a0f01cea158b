//! The front's end of the link to one worker: a backend at which calls are served by another process.
//!
//! Calls are written by one task and answers read by another; whoever hands over a call only leaves its frame behind, so that calls that come
//! together go together. What is on its way is bounded: short bodies go with their calls, which the admission counts, and long ones flow
//! as far as the other end has granted.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use ziggurat_middleware::{BoxError, Problem};

use super::frame::{CallBody, LARGEST_INLINE, Malformed, ToServer, ToWorker, WINDOW, put_call};
use super::in_flight::{FromWorker, InFlight, split_by_begun};
use super::number::ByNumber;
use super::upload::Upload;
use super::write_buffer::WriteBuffer;
use crate::call::pipe::remote_pipe;
use crate::call::{Call, CallSignal, RequestBody};
use crate::worker::admission::{Admission, Backend, Capacity, Permit};
use crate::worker::boot::{Boot, Ready};

/// How much is read at once.
const READ: usize = 64 * 1024;

/// How long a call may stay after an exception was raised in its thread.
const GRACE: Duration = Duration::from_secs(2);

/// The front's end of a link.
pub(crate) struct ServerEnd {
    me: Weak<Self>,
    admission: Arc<Admission>,
    runtime: Handle,
    state: Mutex<LinkState>,
    /// There is something to write.
    written: Notify,
    phase: watch::Sender<Phase>,
    is_stuck: watch::Sender<bool>,
}

struct LinkState {
    out: WriteBuffer,
    calls: ByNumber<InFlight>,
    /// How many calls were begun.
    begun: u64,
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Open,
    /// Nothing more is sent or heard. Calls that still come are kept for [`ServerEnd::fail_calls`].
    Ended,
    /// Calls that still come go back at once.
    Failed,
}

#[derive(Clone, Debug)]
enum Phase {
    Starting,
    Ready(Ready),
    Refused(Bytes),
    Ended,
}

/// Why a worker takes no calls.
#[derive(Debug)]
pub(crate) enum NotReady {
    /// It says why, as JSON.
    Refused(Bytes),
    /// It ended without a signal.
    Gone,
}

impl ServerEnd {
    /// Over the front's end of a socket pair; must be called within a runtime. The worker learns what it is to be.
    pub(crate) fn start(socket: std::os::unix::net::UnixStream, boot: &Boot, admission: &Arc<Admission>) -> io::Result<Arc<Self>> {
        socket.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(socket)?.into_split();
        let mut out = WriteBuffer::default();
        out.push(&ToWorker::Boot(serde_json::to_vec(boot)?.into()));
        let link = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            admission: Arc::clone(admission),
            runtime: Handle::current(),
            state: Mutex::new(LinkState { out, calls: ByNumber::default(), begun: 0, connection: Connection::Open }),
            written: Notify::new(),
            phase: watch::Sender::new(Phase::Starting),
            is_stuck: watch::Sender::new(false),
        });
        tokio::spawn(write(Arc::downgrade(&link), writer));
        tokio::spawn(read(Arc::clone(&link), reader));
        link.written.notify_one();
        Ok(link)
    }

    /// Waits for the worker's first signal.
    pub(crate) async fn ready(&self) -> Result<Ready, NotReady> {
        let mut phase = self.phase.subscribe();
        match phase.wait_for(|phase| !matches!(phase, Phase::Starting)).await.as_deref() {
            Ok(Phase::Ready(ready)) => Ok(*ready),
            Ok(Phase::Refused(why)) => Err(NotReady::Refused(why.clone())),
            _ => Err(NotReady::Gone),
        }
    }

    /// Ready when the link is at its end: the worker died, or refused to serve, or closed it, or spoke nonsense.
    pub(crate) async fn ended(&self) {
        // An error means the same: nobody is there to say so any more.
        let _ = self.phase.subscribe().wait_for(|phase| matches!(phase, Phase::Ended | Phase::Refused(_))).await;
    }

    /// Ready when a call has stayed beyond its deadline, and beyond the exception that should have ended it.
    pub(crate) async fn stuck(&self) {
        let _ = self.is_stuck.subscribe().wait_for(|is_stuck| *is_stuck).await;
    }

    /// Says a signal that concerns no call.
    pub(crate) fn send(&self, sequence: &ToWorker) {
        let mut state = self.lock();
        if state.connection == Connection::Open {
            state.out.push(sequence);
            drop(state);
            self.written.notify_one();
        }
    }

    /// The worker is gone. Calls that the app cannot have begun are taken back, the others answered 502, or broken off.
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

    /// Takes a call out, or changes what is known of it.
    fn with<T>(&self, number: u64, then: impl FnOnce(&mut InFlight) -> T) -> Option<T> {
        self.lock().calls.get_mut(&number).map(then)
    }

    fn remove(&self, number: u64) -> Option<InFlight> {
        self.lock().calls.remove(&number)
    }

    fn handle(&self, report: ToServer, returned: &mut Vec<(Call, Permit)>) -> Result<(), Malformed> {
        match report {
            ToServer::Response(number, head, body, is_done) => {
                let call = if is_done { self.remove(number) } else { None };
                let responder = match call {
                    // The permit is dropped after the response is sent.
                    Some(mut call) => {
                        call.answer(head, body);
                        return Ok(());
                    }
                    None => self.with(number, |call| call.responder.take()).flatten(),
                };
                if let Some(responder) = responder {
                    responder.whole(head, body, is_done);
                }
            }
            ToServer::Head(number, head) => {
                let from = FromWorker { link: self.me.clone(), number };
                let (writer, reader) = remote_pipe(WINDOW, false, Box::new(from));
                let responder = self.with(number, |call| {
                    call.sender = Some(writer);
                    call.responder.take()
                });
                if let Some(Some(responder)) = responder {
                    // Where the client has left, the dropped reader cancels the call.
                    responder.forward(head, reader);
                }
            }
            ToServer::Body(number, octets) => {
                // A slice of what was read keeps all of it alive.
                let octets = if octets.len() < READ / 4 { Bytes::copy_from_slice(&octets) } else { octets };
                let taken = self.with(number, |call| call.sender.as_ref().map(|sender| sender.accept(octets)));
                if let Some(Some(Err(_))) = taken {
                    return Err(Malformed("more of an answer than was granted"));
                }
            }
            ToServer::BodyEnd(number) => {
                if let Some(sender) = self.with(number, |call| call.sender.take()).flatten() {
                    sender.finish();
                }
            }
            ToServer::BodyFailed(number, why) => {
                if let Some(sender) = self.with(number, |call| call.sender.take()).flatten() {
                    sender.fail(BoxError::from(String::from_utf8_lossy(&why).into_owned()));
                }
            }
            ToServer::Failed(number, status, detail) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                if let Some(responder) = self.with(number, |call| call.responder.take()).flatten() {
                    responder.fail(Problem::new(status).detail(String::from_utf8_lossy(&detail).into_owned()));
                }
            }
            ToServer::Credit(number, octets) => {
                self.with(number, |call| {
                    if let Some(upload) = &call.upload {
                        upload.grant(octets as usize);
                    }
                });
            }
            ToServer::Returned(number) => match self.remove(number).map(InFlight::into_call) {
                Some(Ok(call)) => returned.push(call),
                Some(Err(call)) => call.fail("it gave a request back that cannot be begun anew"),
                None => {}
            },
            // Dropping the permit lets the next call have the thread.
            ToServer::Done(number) => drop(self.remove(number)),
            ToServer::Ready(json) => {
                let ready = serde_json::from_slice(&json);
                self.phase.send_replace(ready.map_or(Phase::Refused(json), Phase::Ready));
            }
            ToServer::Refused(why) => {
                self.phase.send_replace(Phase::Refused(why));
            }
            // A template's signal, and templates have no calls.
            ToServer::Ended(_) => {}
        }
        Ok(())
    }

    /// Notes after a while that a call which should have ended is still there.
    async fn watch(self: Arc<Self>, number: u64) {
        tokio::time::sleep(GRACE).await;
        if self.lock().calls.contains_key(&number) {
            self.is_stuck.send_replace(true);
        }
    }
}

impl Backend for ServerEnd {
    fn begin(&self, call: Call, permit: Permit) {
        let Call { number, head, body, responder, class, since } = call;
        let mut upload = None;
        let (sent, kept) = match body {
            RequestBody::Whole(octets) if octets.len() <= LARGEST_INLINE => (CallBody::Whole(octets.clone()), Some(octets)),
            RequestBody::Whole(octets) => {
                upload = Some(Upload::whole(octets.clone()));
                (CallBody::Stream, Some(octets))
            }
            RequestBody::Stream(reader) => {
                let body = if reader.is_lazy() { CallBody::Lazy } else { CallBody::Stream };
                upload = Some(Upload::stream(reader, body == CallBody::Lazy));
                (body, None)
            }
        };
        let mut state = self.lock();
        // A signal about it that came before it found nothing.
        if responder.is_closed() {
            // Dropping the permit takes other locks.
            drop(state);
            return;
        }
        state.begun += 1;
        let sequence = state.begun;
        let connection = state.connection;
        if connection == Connection::Open {
            put_call(state.out.octets(), number, head.as_bytes(), &sent);
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
            sender: None,
            upload: handle,
            class,
            permit,
            since,
        };
        if connection != Connection::Failed {
            state.calls.insert(number, call);
            drop(state);
            self.written.notify_one();
            // Not before: the call's own frame comes first.
            if let (Some(upload), Some(link)) = (upload, self.me.upgrade()) {
                self.runtime.spawn(upload.run(number, link));
            }
            return;
        }
        drop(state);
        match call.into_call() {
            Ok(call) => self.admission.take_back(vec![call]),
            Err(call) => call.fail("it ended before it got the request"),
        }
    }

    fn signal(&self, number: u64, signal: CallSignal) -> bool {
        let Some(is_whole) = self.with(number, |call| call.body.is_some()) else { return false };
        if signal == CallSignal::Recall && !is_whole {
            // It could not be begun anew.
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

async fn read(link: Arc<ServerEnd>, mut reader: OwnedReadHalf) {
    let mut octets = BytesMut::with_capacity(READ);
    let mut returned = Vec::new();
    'reading: while matches!(reader.read_buf(&mut octets).await, Ok(1..)) {
        loop {
            let heard = ToServer::take(&mut octets).and_then(|report| report.map(|report| link.handle(report, &mut returned)).transpose());
            match heard {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(error) => {
                    tracing::error!("a worker spoke nonsense and is given up: {error}");
                    break 'reading;
                }
            }
        }
        if !returned.is_empty() {
            link.admission.take_back(std::mem::take(&mut returned));
        }
        octets.reserve(READ);
    }
    link.lock().connection = Connection::Ended;
    // Why a worker refused is still to be asked for.
    if !matches!(*link.phase.borrow(), Phase::Refused(_)) {
        link.phase.send_replace(Phase::Ended);
    }
    // The task that writes looks for its link, and ends.
    link.written.notify_one();
}

async fn write(link: Weak<ServerEnd>, writer: OwnedWriteHalf) {
    let mut outgoing = WriteBuffer::default();
    loop {
        {
            let Some(link) = link.upgrade() else { return };
            // Calls that are made now go together.
            tokio::task::yield_now().await;
            {
                let mut state = link.lock();
                if state.connection != Connection::Open {
                    state.out.clear(0);
                    return;
                }
                std::mem::swap(&mut state.out, &mut outgoing);
            }
            if outgoing.is_empty() {
                link.written.notified().await;
                continue;
            }
        }
        let mut slices = outgoing.slices();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match writer.try_write_vectored(left) {
                Ok(count) => IoSlice::advance_slices(&mut left, count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A worker that is gone is writable too.
                    if writer.writable().await.is_err() {
                        return;
                    }
                }
                // Whoever reads learns it too.
                Err(_) => return,
            }
        }
        drop(slices);
        outgoing.clear(4 * WINDOW);
    }
}
