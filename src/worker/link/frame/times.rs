//! The payload of a frame about the times of a call.

use std::time::Duration;

use bytes::{Buf, Bytes};
use ziggurat_middleware::timing::RequestClock;

use super::{Malformed, SHORT};

/// Where the time of a call has gone in the worker, since the previous frame about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallTimes {
    /// How long the app's thread has had the call, if this comes before the head of the response.
    thread: Option<Duration>,
    /// The names of places, each with its self time until the head of the response, and of the body.
    places: Vec<(Bytes, Duration, Duration)>,
}

/// The time of a frame that comes after the head of the response.
const NONE: u64 = u64::MAX;

impl CallTimes {
    /// What the clock of a worker has measured so far; `None` if there is nothing to tell.
    pub(crate) fn of(clock: &RequestClock, has_begun: bool) -> Option<Self> {
        let places = clock.take().into_iter().map(|time| (Bytes::copy_from_slice(time.place.as_str().as_bytes()), time.request, time.body));
        let times = Self { thread: if has_begun { None } else { clock.thread_time() }, places: places.collect() };
        (times.thread.is_some() || !times.places.is_empty()).then_some(times)
    }

    /// Gives them to the clock of the call, and to that of the server.
    pub(crate) fn report(&self, clock: &RequestClock) {
        if let Some(thread) = self.thread {
            clock.end_thread(thread);
        }
        let Some(clock) = clock.server() else { return };
        let named = self.places.iter().filter_map(|(name, request, body)| Some((std::str::from_utf8(name).ok()?, *request, *body)));
        clock.report(named);
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.thread.map_or(NONE, nanos).to_le_bytes());
        for (name, request, body) in &self.places {
            // Longer names do not occur; one that is cut off is the name of nothing.
            let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&name[..usize::from(length)]);
            out.extend_from_slice(&nanos(*request).to_le_bytes());
            out.extend_from_slice(&nanos(*body).to_le_bytes());
        }
    }

    pub(super) fn take(mut payload: Bytes) -> Result<Self, Malformed> {
        let thread = payload.try_get_u64_le().map_err(|_| SHORT)?;
        let mut places = Vec::new();
        while !payload.is_empty() {
            let length = usize::from(payload.try_get_u16_le().map_err(|_| SHORT)?);
            if length > payload.len() {
                return Err(SHORT);
            }
            let name = payload.split_to(length);
            let (request, body) = (payload.try_get_u64_le().map_err(|_| SHORT)?, payload.try_get_u64_le().map_err(|_| SHORT)?);
            places.push((name, Duration::from_nanos(request), Duration::from_nanos(body)));
        }
        Ok(Self { thread: (thread != NONE).then(|| Duration::from_nanos(thread)), places })
    }
}

/// Overflows after five hundred years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NONE - 1)
}

#[cfg(test)]
impl CallTimes {
    /// For tests of frames.
    pub(super) const fn new(thread: Option<Duration>, places: Vec<(Bytes, Duration, Duration)>) -> Self {
        Self { thread, places }
    }
}
