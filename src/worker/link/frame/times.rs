//! The payload of a frame about the times of a call.

use std::time::Duration;

use bytes::{Buf, Bytes};
use ziggurat_middleware::timing::{RequestClock, ThreadSpan};

use super::{Malformed, SHORT};

/// Where the time of a call has gone in the worker, since the previous frame about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallTimes {
    /// How long the app's thread has had a call that has no response.
    thread: Option<Duration>,
    /// How long the worker has had it.
    elapsed: Duration,
    /// Visits to layers in the worker.
    spans: Vec<ThreadSpan<Bytes>>,
}

/// The time of what is not known, or goes on.
const NONE: u64 = u64::MAX;

/// The number of no layer.
const NOBODY: u8 = u8::MAX;

impl CallTimes {
    /// What the clock of the layers in a worker has measured so far, and the time of the app's thread; `None` if there is nothing to tell.
    pub(crate) fn of(clock: Option<&RequestClock>, thread: Option<Duration>) -> Option<Self> {
        let spans = clock.map(RequestClock::take).unwrap_or_default().into_iter();
        let spans: Vec<_> = spans.map(|span| span.named(Bytes::copy_from_slice(span.name.as_str().as_bytes()))).collect();
        let is_needed = thread.is_some() || !spans.is_empty();
        is_needed.then(|| Self { thread, elapsed: clock.map(RequestClock::elapsed).unwrap_or_default(), spans })
    }

    /// Gives them to the clock of the call, and to that of the server.
    pub(crate) fn report(&self, clock: &RequestClock) {
        if let Some(thread) = self.thread {
            clock.end_thread(thread);
        }
        if !self.spans.is_empty() {
            let named = self.spans.iter().filter_map(|span| Some(span.named(std::str::from_utf8(&span.name).ok()?)));
            clock.report(self.elapsed, &named.collect::<Vec<_>>());
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let put_time = |out: &mut Vec<u8>, time: Option<Duration>| out.extend_from_slice(&time.map_or(NONE, nanos).to_le_bytes());
        put_time(out, self.thread);
        put_time(out, Some(self.elapsed));
        for span in &self.spans {
            put_text(out, &span.name);
            out.extend_from_slice(&[span.number, span.above.unwrap_or(NOBODY)]);
            put_text(out, span.error.as_deref().unwrap_or_default().as_bytes());
            for time in [Some(span.begin), span.duration, Some(span.request), Some(span.body)] {
                put_time(out, time);
            }
        }
    }

    pub(super) fn take(mut payload: Bytes) -> Result<Self, Malformed> {
        let take_time = |payload: &mut Bytes| payload.try_get_u64_le().map_err(|_| SHORT);
        let known = |time: u64| (time != NONE).then(|| Duration::from_nanos(time));
        let (thread, elapsed) = (known(take_time(&mut payload)?), Duration::from_nanos(take_time(&mut payload)?));
        let mut spans = Vec::new();
        while !payload.is_empty() {
            let name = take_text(&mut payload)?;
            let (number, above) = (payload.try_get_u8().map_err(|_| SHORT)?, payload.try_get_u8().map_err(|_| SHORT)?);
            let error = take_text(&mut payload)?;
            spans.push(ThreadSpan {
                number,
                above: (above != NOBODY).then_some(above),
                name,
                begin: Duration::from_nanos(take_time(&mut payload)?),
                duration: known(take_time(&mut payload)?),
                error: (!error.is_empty()).then(|| String::from_utf8_lossy(&error).into()),
                request: Duration::from_nanos(take_time(&mut payload)?),
                body: Duration::from_nanos(take_time(&mut payload)?),
            });
        }
        Ok(Self { thread, elapsed, spans })
    }
}

/// Longer names do not occur; one that is cut off is the name of nothing.
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&text[..usize::from(length)]);
}

fn take_text(payload: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = usize::from(payload.try_get_u16_le().map_err(|_| SHORT)?);
    if length > payload.len() { Err(SHORT) } else { Ok(payload.split_to(length)) }
}

/// Overflows after five hundred years.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NONE - 1)
}

#[cfg(test)]
impl CallTimes {
    /// For tests of frames.
    pub(super) const fn new(thread: Option<Duration>, elapsed: Duration, spans: Vec<ThreadSpan<Bytes>>) -> Self {
        Self { thread, elapsed, spans }
    }
}
