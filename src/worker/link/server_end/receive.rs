//! The task that reads a worker's frames.

use std::collections::VecDeque;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use ziggurat_middleware::{BoxError, FileBody, Problem};

use super::{Connection, Phase, ServerEnd};
use crate::call::pipe::remote_pipe;
use crate::call::{Call, ReplyBody};
use crate::worker::admission::Permit;
use crate::worker::link::descriptor;
use crate::worker::link::frame::{Malformed, ToServer, WINDOW};
use crate::worker::link::in_flight::{FromWorker, InFlight};
use crate::worker::link::shared_memory::RingReader;

/// How much is read at once.
const READ: usize = 64 * 1024;

/// Reads until the worker closes the link or breaks the protocol.
pub(super) async fn read(link: Arc<ServerEnd>, reader: OwnedReadHalf, ring: Option<RingReader>) {
    let mut octets = BytesMut::with_capacity(READ);
    let mut block = vec![0; READ];
    let mut received = Received { descriptors: VecDeque::new(), ring, returned: Vec::new() };
    'reading: while let Ok(count @ 1..) = receive(&reader, &mut block, &mut received.descriptors).await {
        octets.extend_from_slice(&block[..count]);
        loop {
            let heard = ToServer::take(&mut octets).and_then(|report| report.map(|report| link.handle(report, &mut received)).transpose());
            match heard {
                Ok(Some(())) => {}
                // A descriptor comes with the first octet of its frame, so at most one waits.
                Ok(None) if received.descriptors.len() <= 1 => break,
                Ok(None) => {
                    link.protocol_error(Malformed("a descriptor belongs to no frame"));
                    break 'reading;
                }
                Err(error) => {
                    link.protocol_error(error);
                    break 'reading;
                }
            }
        }
        if !received.returned.is_empty() {
            link.admission.take_back(std::mem::take(&mut received.returned));
        }
    }
    link.lock().connection = Connection::Ended;
    // [`ServerEnd::ready`] still has to return the reason of a refusal.
    if !matches!(*link.phase.borrow(), Phase::Refused(_)) {
        link.phase.send_replace(Phase::Ended);
    }
    // Wakes the writing task, which ends then.
    link.written.notify_one();
}

/// What comes beside the frames, or out of them.
struct Received {
    /// Descriptors whose frames were not handled yet.
    descriptors: VecDeque<OwnedFd>,
    /// Where chunks of bodies are that are not in their frames.
    ring: Option<RingReader>,
    /// Calls that the worker has returned.
    returned: Vec<(Call, Permit)>,
}

/// Receives octets and descriptors.
async fn receive(reader: &OwnedReadHalf, block: &mut [u8], descriptors: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let socket: &UnixStream = reader.as_ref();
    poll_fn(|cx| {
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let (mut received, before) = (None, descriptors.len());
            let read = socket.try_io(Interest::READABLE, || {
                let count = descriptor::receive(socket, block, descriptors)?;
                received = Some(count);
                // A short read has emptied the socket, unless it ends with a message that has a descriptor. The error saves the read that would find nothing.
                let is_empty = (1..block.len()).contains(&count) && descriptors.len() == before;
                if is_empty { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (received, read) {
                (Some(count), _) => return Poll::Ready(Ok(count)),
                (None, Err(error)) if error.kind() != ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                (None, _) => {}
            }
        }
    })
    .await
}

impl ServerEnd {
    fn protocol_error(&self, error: Malformed) {
        tracing::error!(app = self.admission.place(), "protocol error on the link to a worker: it is killed and replaced: {error}");
    }

    /// Passes a chunk of a response's body on.
    fn accept(&self, number: u64, chunk: Bytes) -> Result<(), Malformed> {
        match self.with(number, |call| call.sender.as_ref().map(|sender| sender.accept(chunk))) {
            Some(Some(Err(_))) => Err(Malformed("a response's body exceeds its credit")),
            _ => Ok(()),
        }
    }

    fn handle(&self, report: ToServer, received: &mut Received) -> Result<(), Malformed> {
        if let Some(number) = report.number()
            && !self.is_sent(number)
        {
            return Err(Malformed("a frame is about a call that was not sent"));
        }
        match report {
            ToServer::File(number, head, part) => {
                let file = File::from(received.descriptors.pop_front().ok_or(Malformed("the file of a response is missing"))?);
                if part.is_empty() && part.start != part.end || !file.metadata().is_ok_and(|file| file.is_file()) {
                    return Err(Malformed("the body of a response is no part of a regular file"));
                }
                if let Some(responder) = self.with(number, |call| call.begin_response(&head)).flatten() {
                    responder.forward(head, ReplyBody::File(FileBody::new(file, part)));
                }
            }
            ToServer::Response(number, head, body, is_done) => {
                let call = if is_done { self.remove(number) } else { None };
                let responder = match call {
                    // The permit is dropped after the response is sent.
                    Some(mut call) => {
                        call.respond(head, body);
                        return Ok(());
                    }
                    None => self.with(number, |call| call.begin_response(&head)).flatten(),
                };
                if let Some(responder) = responder {
                    responder.forward(head, ReplyBody::Whole(body));
                }
            }
            ToServer::Head(number, head) => {
                let from = FromWorker { link: self.me.clone(), number };
                let (writer, reader) = remote_pipe(WINDOW, false, Box::new(from));
                let responder = self.with(number, |call| {
                    call.sender = Some(writer);
                    call.begin_response(&head)
                });
                if let Some(Some(responder)) = responder {
                    // Where the client has left, the dropped reader cancels the call.
                    responder.forward(head, ReplyBody::Stream(reader));
                }
            }
            ToServer::Body(number, octets) => {
                // A slice would keep the whole read buffer alive.
                self.accept(number, if octets.len() < READ / 4 { Bytes::copy_from_slice(&octets) } else { octets })?;
            }
            ToServer::SharedBody(number, chunk) => {
                let octets = received.ring.as_mut().and_then(|ring| ring.take(chunk.at, chunk.length as usize));
                self.accept(number, octets.ok_or(Malformed("a chunk is not in the shared memory"))?)?;
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
            ToServer::Hint(number, head) => {
                if let Some(hints) = self.with(number, |call| call.hints.clone()).flatten() {
                    hints.forward(&head.headers);
                }
            }
            ToServer::Times(number, times) => {
                if let Some(clock) = self.with(number, |call| call.clock.clone()).flatten() {
                    times.report(&clock);
                }
            }
            ToServer::Credit(number, octets) => {
                let granted = self.with(number, |call| call.upload.as_ref().is_none_or(|upload| upload.grant(octets as usize)));
                if granted == Some(false) {
                    return Err(Malformed("the credit for a request's body exceeds its window"));
                }
            }
            ToServer::Returned(number) => match self.remove(number).map(InFlight::into_call) {
                Some(Ok(call)) => received.returned.push(call),
                Some(Err(call)) => call.fail("it returned a request that cannot be run again"),
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
            // Only templates send it, and they have no calls.
            ToServer::Ended(_) => {}
        }
        Ok(())
    }
}
