//! Frames that begin a response.

use std::ops::Range;
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::times::nanos;
use super::{DONE, Malformed, SHORT, framed};
use crate::call::ResponseHead;
use crate::call::encoded_head::EncodedHead;

/// The flag of a frame that has a time before the head.
const TIMED: u8 = 16;

/// Appends the frame of a whole response, without a [`ToServer`] that would own the head. `thread` is how long the app's thread has had the call, if it is timed.
pub(crate) fn put_response(out: &mut Vec<u8>, number: u64, thread: Option<Duration>, head: &EncodedHead, body: &[u8], is_done: bool) {
    framed(out, 66, if is_done { DONE } else { 0 } | timed(thread), number, |out| {
        put_head(out, thread, head);
        out.extend_from_slice(body);
    });
}

/// Appends the frame of the head of a streamed response, likewise.
pub(crate) fn put_response_head(out: &mut Vec<u8>, number: u64, thread: Option<Duration>, head: &EncodedHead) {
    framed(out, 67, timed(thread), number, |out| put_head(out, thread, head));
}

/// Appends the frame of a hint, likewise.
pub(crate) fn put_hint(out: &mut Vec<u8>, number: u64, head: &EncodedHead) {
    framed(out, 78, 0, number, |out| head.put(out));
}

/// Appends the frame of the head of a response whose body is in a file, likewise.
pub(crate) fn put_response_file(out: &mut Vec<u8>, number: u64, thread: Option<Duration>, head: &EncodedHead, part: &Range<u64>) {
    framed(out, 76, timed(thread), number, |out| {
        out.extend_from_slice(&part.start.to_le_bytes());
        out.extend_from_slice(&part.end.to_le_bytes());
        put_head(out, thread, head);
    });
}

const fn timed(thread: Option<Duration>) -> u8 {
    if thread.is_some() { TIMED } else { 0 }
}

/// Appends the head of a response, after the time of a call that is timed.
fn put_head(out: &mut Vec<u8>, thread: Option<Duration>, head: &EncodedHead) {
    if let Some(thread) = thread {
        out.extend_from_slice(&nanos(thread).to_le_bytes());
    }
    head.put(out);
}

/// Takes it out of the payload of a frame with these flags.
pub(super) fn take_head(flags: u8, payload: &mut Bytes) -> Result<ResponseHead, Malformed> {
    let time = if flags & TIMED == 0 { None } else { Some(payload.try_get_u64_le().map_err(|_| SHORT)?) };
    Ok(ResponseHead { thread: time.map(Duration::from_nanos), ..ResponseHead::take(payload)? })
}
