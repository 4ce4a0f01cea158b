//! A response body that is counted for the log.

use super::entry::LogEntry;
use crate::Body;
use crate::body::{Handed, Observer};

/// Counts octets. The line is written when the server drops the body.
struct BodyLog {
    /// The length, if it is known. The server reads no further, not even to the end of the stream.
    length: Option<u64>,
    entry: Box<LogEntry>,
}

/// The body of a response, counted in its entry.
pub(super) fn logged(body: Body, entry: Box<LogEntry>) -> Body {
    let length = entry.content_length().or_else(|| http_body::Body::size_hint(&body).exact());
    body.observed(BodyLog { length, entry })
}

impl Observer for BodyLog {
    fn observe(&mut self, handed: Handed) {
        self.entry.complete = match handed {
            Handed::Octets(octets, is_last) => {
                self.entry.sent += octets;
                is_last || self.length == Some(self.entry.sent)
            }
            Handed::End => true,
            Handed::Error => false,
        };
    }
}
