//! The frames of the link: a head of 16 octets and a payload, in both directions. `docs/link.md` describes them.
//!
//! The head consists of the payload's length (32 bits), the kind (8), flags (8), 16 zero bits, and the number of the call (64), in little endian. The
//! head of a request is in the form of [`crate::call::head`].

#[cfg(any(test, fuzzing))]
mod check;
mod response;
mod times;

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

#[cfg(any(test, fuzzing))]
pub(crate) use self::check::{check_orders, check_reports};
pub(crate) use self::response::{put_hint, put_response, put_response_file, put_response_head};
pub(crate) use self::times::CallTimes;
use crate::call::ResponseHead;
use crate::call::encoded_head::{EncodedHead, MalformedHead};

/// The version of the protocol. Both ends are the same program, unless its file was replaced while the server ran.
pub(crate) const VERSION: u32 = 9;

/// The largest payload, in octets.
pub(crate) const LARGEST: usize = 4 << 20;

/// The largest body that goes in one frame with its head, and the largest chunk, in octets.
pub(crate) const LARGEST_INLINE: usize = 64 * 1024;

/// The initial credit of each body, in octets.
pub(crate) const WINDOW: usize = 256 * 1024;

const HEAD: usize = 16;

/// A frame from the server to a worker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ToWorker {
    /// The first frame: what the worker is to run, as JSON ([`Boot`](crate::worker::boot::Boot)).
    Boot(Bytes),
    /// A request: its head ([`crate::call::head`]), its body if that is short, and whether the app may send hints.
    Call(u64, Bytes, CallBody, bool),
    /// A chunk of a request's body.
    Body(u64, Bytes),
    /// The same, in [shared memory](super::shared_memory).
    SharedBody(u64, SharedChunk),
    /// The end of a request's body.
    BodyEnd(u64),
    /// A request's body failed: the status for the client, and the reason.
    BodyFailed(u64, u16, Bytes),
    /// The worker may send so many more octets of the response's body.
    Credit(u64, u32),
    /// The client has left.
    Cancel(u64),
    /// The request is slow: log the Python stack of its thread.
    Trace(u64),
    /// The request is over its deadline: log the stack, and raise an exception in the thread.
    Expire(u64),
    /// Return the call if the app has not begun with it.
    Recall(u64),
    /// Log the Python stacks of all threads.
    Stacks,
    /// Reopen log files.
    Reopen,
    /// To a template: fork a worker. Its link comes along as a descriptor.
    Fork,
    /// Finish the calls at hand, then exit.
    Stop,
    /// Another worker has ended: which and why, as JSON ([`WorkerEnded`](crate::worker::boot::WorkerEnded)).
    WorkerEnded(Bytes),
    /// A request for a WebSocket: its head. The app's socket comes along as a descriptor.
    WebSocket(u64, Bytes),
}

/// The body of a call, as far as it is in the same frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallBody {
    /// All of it.
    Whole(Bytes),
    /// It follows in frames of its own.
    Stream,
    /// It follows when the app reads, after the first credit.
    Lazy,
    /// It is in a file of this length, which comes along as a descriptor.
    Spooled(u64),
}

/// Where a chunk is in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedChunk {
    /// Its position in the ring.
    pub(crate) at: u64,
    /// In octets.
    pub(crate) length: u32,
}

impl SharedChunk {
    fn take(mut payload: Bytes) -> Result<Self, Malformed> {
        Ok(Self { at: payload.try_get_u64_le().map_err(|_| SHORT)?, length: payload.try_get_u32_le().map_err(|_| SHORT)? })
    }

    fn put(self, out: &mut Vec<u8>, kind: u8, number: u64) {
        frame(out, kind, 0, number, &[&self.at.to_le_bytes(), &self.length.to_le_bytes()]);
    }
}

/// A frame from a worker to the server.
#[derive(Debug)]
pub(crate) enum ToServer {
    /// The app is imported and the threads run: the process id, as JSON ([`Ready`](crate::worker::boot::Ready)).
    Ready(Bytes),
    /// The worker cannot serve the app: a finding, as JSON ([`Refusal`](crate::worker::boot::Refusal)).
    Refused(Bytes),
    /// A whole response. The flag says that the call is over, too.
    Response(u64, ResponseHead, Bytes, bool),
    /// The head of a response whose body is this part of a file. The file comes along as a descriptor.
    File(u64, ResponseHead, Range<u64>),
    /// A hint before the response (103).
    Hint(u64, ResponseHead),
    /// The head of a streamed response.
    Head(u64, ResponseHead),
    /// A chunk of a response's body.
    Body(u64, Bytes),
    /// The same, in [shared memory](super::shared_memory).
    SharedBody(u64, SharedChunk),
    /// The end of a response's body.
    BodyEnd(u64),
    /// The response broke off: the reason.
    BodyFailed(u64, Bytes),
    /// The app failed before it responded: the status, and the detail for the client.
    Failed(u64, u16, Bytes),
    /// Where the time of a call has gone that is timed. It comes before the head of the response, and again before the end of its body.
    Times(u64, CallTimes),
    /// The server may send so many more octets of the request's body.
    Credit(u64, u32),
    /// A recalled call; it is over here.
    Returned(u64),
    /// The call is over and its thread free.
    Done(u64),
    /// From a template: a process that it forked has ended, and how, as JSON ([`Ended`](crate::worker::boot::Ended)).
    Ended(Bytes),
}

/// Octets that are not a frame of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<MalformedHead> for Malformed {
    fn from(malformed: MalformedHead) -> Self {
        Self(malformed.0)
    }
}

const DONE: u8 = 1;
const LAZY: u8 = 2;
const STREAM: u8 = 4;
const SPOOLED: u8 = 8;
const HINTS: u8 = 16;

impl ToWorker {
    /// Appends the frame.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Boot(json) => frame(out, 1, 0, 0, &[json]),
            Self::Call(number, head, body, takes_hints) => put_call(out, *number, head, body, *takes_hints),
            Self::Body(number, octets) => frame(out, 3, 0, *number, &[octets]),
            Self::BodyEnd(number) => frame(out, 4, 0, *number, &[]),
            Self::BodyFailed(number, status, detail) => frame(out, 5, 0, *number, &[&status.to_le_bytes(), detail]),
            Self::Credit(number, octets) => frame(out, 6, 0, *number, &[&octets.to_le_bytes()]),
            Self::Cancel(number) => frame(out, 7, 0, *number, &[]),
            Self::Trace(number) => frame(out, 8, 0, *number, &[]),
            Self::Expire(number) => frame(out, 9, 0, *number, &[]),
            Self::Recall(number) => frame(out, 10, 0, *number, &[]),
            Self::Stacks => frame(out, 11, 0, 0, &[]),
            Self::Fork => frame(out, 12, 0, 0, &[]),
            Self::Stop => frame(out, 13, 0, 0, &[]),
            Self::Reopen => frame(out, 14, 0, 0, &[]),
            Self::WebSocket(number, head) => frame(out, 15, 0, *number, &[head]),
            Self::WorkerEnded(json) => frame(out, 16, 0, 0, &[json]),
            Self::SharedBody(number, chunk) => chunk.put(out, 17, *number),
        }
    }

    /// Takes the first frame out of `octets`, if it is there whole.
    pub(crate) fn take(octets: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        let Some((kind, flags, number, mut payload)) = take(octets)? else { return Ok(None) };
        Ok(Some(match kind {
            1 => Self::Boot(payload),
            2 => {
                let length = payload.try_get_u32_le().map_err(|_| SHORT)? as usize;
                if length > payload.len() {
                    return Err(SHORT);
                }
                let head = payload.split_to(length);
                let body = match flags & !HINTS {
                    STREAM => CallBody::Stream,
                    LAZY => CallBody::Lazy,
                    SPOOLED => CallBody::Spooled(payload.try_get_u64_le().map_err(|_| SHORT)?),
                    _ => CallBody::Whole(payload),
                };
                Self::Call(number, head, body, flags & HINTS != 0)
            }
            3 => Self::Body(number, payload),
            4 => Self::BodyEnd(number),
            5 => Self::BodyFailed(number, payload.try_get_u16_le().map_err(|_| SHORT)?, payload),
            6 => Self::Credit(number, payload.try_get_u32_le().map_err(|_| SHORT)?),
            7 => Self::Cancel(number),
            8 => Self::Trace(number),
            9 => Self::Expire(number),
            10 => Self::Recall(number),
            11 => Self::Stacks,
            12 => Self::Fork,
            13 => Self::Stop,
            14 => Self::Reopen,
            15 => Self::WebSocket(number, payload),
            16 => Self::WorkerEnded(payload),
            17 => Self::SharedBody(number, SharedChunk::take(payload)?),
            _ => return Err(UNKNOWN),
        }))
    }
}

/// Appends the frame of a call, without a [`ToWorker`] that would need a copy of the head.
pub(crate) fn put_call(out: &mut Vec<u8>, number: u64, head: &[u8], body: &CallBody, takes_hints: bool) {
    let (length, hints) = (size(head.len()).to_le_bytes(), if takes_hints { HINTS } else { 0 });
    match body {
        CallBody::Whole(octets) => frame(out, 2, hints, number, &[&length, head, octets]),
        CallBody::Stream => frame(out, 2, hints | STREAM, number, &[&length, head]),
        CallBody::Lazy => frame(out, 2, hints | LAZY, number, &[&length, head]),
        CallBody::Spooled(octets) => frame(out, 2, hints | SPOOLED, number, &[&length, head, &octets.to_le_bytes()]),
    }
}

impl ToServer {
    /// Appends the frame.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ready(json) => frame(out, 64, 0, 0, &[json]),
            Self::Refused(json) => frame(out, 65, 0, 0, &[json]),
            Self::Response(number, head, body, is_done) => {
                put_response(out, *number, head.thread, &EncodedHead::from(head), body, *is_done)
            }
            Self::File(number, head, part) => put_response_file(out, *number, head.thread, &EncodedHead::from(head), part),
            Self::Head(number, head) => put_response_head(out, *number, head.thread, &EncodedHead::from(head)),
            Self::Body(number, octets) => frame(out, 68, 0, *number, &[octets]),
            Self::BodyEnd(number) => frame(out, 69, 0, *number, &[]),
            Self::BodyFailed(number, why) => frame(out, 70, 0, *number, &[why]),
            Self::Failed(number, status, detail) => frame(out, 71, 0, *number, &[&status.to_le_bytes(), detail]),
            Self::Credit(number, octets) => frame(out, 72, 0, *number, &[&octets.to_le_bytes()]),
            Self::Returned(number) => frame(out, 73, 0, *number, &[]),
            Self::Done(number) => frame(out, 74, 0, *number, &[]),
            Self::Ended(json) => frame(out, 75, 0, 0, &[json]),
            Self::Times(number, times) => put_times(out, *number, times),
            Self::Hint(number, head) => put_hint(out, *number, &EncodedHead::from(head)),
            Self::SharedBody(number, chunk) => chunk.put(out, 79, *number),
        }
    }

    /// The call that it is about.
    pub(crate) const fn number(&self) -> Option<u64> {
        match self {
            Self::Ready(_) | Self::Refused(_) | Self::Ended(_) => None,
            Self::Response(number, ..)
            | Self::File(number, ..)
            | Self::Hint(number, _)
            | Self::Head(number, _)
            | Self::Body(number, _)
            | Self::SharedBody(number, _)
            | Self::BodyEnd(number)
            | Self::BodyFailed(number, _)
            | Self::Failed(number, ..)
            | Self::Credit(number, _)
            | Self::Times(number, _)
            | Self::Returned(number)
            | Self::Done(number) => Some(*number),
        }
    }

    /// Takes the first frame out of `octets`, if it is there whole.
    pub(crate) fn take(octets: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        let Some((kind, flags, number, mut payload)) = take(octets)? else { return Ok(None) };
        Ok(Some(match kind {
            64 => Self::Ready(payload),
            65 => Self::Refused(payload),
            66 => {
                let head = response::take_head(flags, &mut payload)?;
                Self::Response(number, head, payload, flags & DONE != 0)
            }
            67 => Self::Head(number, response::take_head(flags, &mut payload)?),
            68 => Self::Body(number, payload),
            69 => Self::BodyEnd(number),
            70 => Self::BodyFailed(number, payload),
            71 => Self::Failed(number, payload.try_get_u16_le().map_err(|_| SHORT)?, payload),
            72 => Self::Credit(number, payload.try_get_u32_le().map_err(|_| SHORT)?),
            73 => Self::Returned(number),
            74 => Self::Done(number),
            75 => Self::Ended(payload),
            76 => {
                let (start, end) = (payload.try_get_u64_le().map_err(|_| SHORT)?, payload.try_get_u64_le().map_err(|_| SHORT)?);
                Self::File(number, response::take_head(flags, &mut payload)?, start..end)
            }
            77 => Self::Times(number, CallTimes::take(payload)?),
            78 => Self::Hint(number, ResponseHead::take(&mut payload)?),
            79 => Self::SharedBody(number, SharedChunk::take(payload)?),
            _ => return Err(UNKNOWN),
        }))
    }
}

/// Appends the frame of the times of a call.
pub(crate) fn put_times(out: &mut Vec<u8>, number: u64, times: &CallTimes) {
    framed(out, 77, 0, number, |out| times.put(out));
}

/// Appends the head of a [`ToServer::Body`]. The caller appends the payload of `length` octets.
pub(crate) fn put_response_body_head(out: &mut Vec<u8>, number: u64, length: usize) {
    put_frame_head(out, 68, number, length);
}

/// Appends the head of a [`ToWorker::Body`]. The caller appends the payload of `length` octets.
pub(crate) fn put_request_body_head(out: &mut Vec<u8>, number: u64, length: usize) {
    put_frame_head(out, 3, number, length);
}

fn put_frame_head(out: &mut Vec<u8>, kind: u8, number: u64, length: usize) {
    out.extend_from_slice(&size(length).to_le_bytes());
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&number.to_le_bytes());
}

const SHORT: Malformed = Malformed("a frame is too short for its kind");
const UNKNOWN: Malformed = Malformed("a frame has an unknown kind");

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, number: u64, parts: &[&[u8]]) {
    framed(out, kind, flags, number, |out| parts.iter().for_each(|part| out.extend_from_slice(part)));
}

fn framed(out: &mut Vec<u8>, kind: u8, flags: u8, number: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind, flags, 0, 0]);
    out.extend_from_slice(&number.to_le_bytes());
    fill(out);
    let length = size(out.len() - at - HEAD);
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Every frame is far smaller than 4 GiB.
fn size(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Kind, flags, number and payload of the first frame.
fn take(octets: &mut BytesMut) -> Result<Option<(u8, u8, u64, Bytes)>, Malformed> {
    let Some(mut head) = octets.get(..HEAD) else { return Ok(None) };
    let length = head.get_u32_le() as usize;
    let (kind, flags) = (head.get_u8(), head.get_u8());
    head.advance(2);
    let number = head.get_u64_le();
    if length > LARGEST {
        return Err(Malformed("a frame is larger than 4 MiB"));
    }
    if octets.len() < HEAD + length {
        octets.reserve(HEAD + length - octets.len());
        return Ok(None);
    }
    octets.advance(HEAD);
    Ok(Some((kind, flags, number, octets.split_to(length).freeze())))
}

#[cfg(test)]
mod tests;
