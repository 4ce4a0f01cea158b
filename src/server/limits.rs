//! The limits and the manners of one connection.

use std::time::Duration;

use super::Options;

/// How long a connection that is asked to close may take for what it has begun: for its first request, for the rest of a request head, for its end after GOAWAY.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// What [`Options`] set for each connection.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) header_timeout: Duration,
    pub(super) body_timeout: Duration,
    /// The least octets per second of a body, in either direction; 0 for no such limit.
    pub(super) min_rate: u64,
    /// The longest time of a request's body.
    pub(super) body_time: Option<Duration>,
    pub(super) keep_alive: Duration,
    pub(super) header_size: usize,
    pub(super) headers: usize,
    /// Connections at once.
    pub(super) connections: usize,
    pub(super) title_case_headers: bool,
    pub(super) handshake_timeout: Duration,
    /// TLS handshakes under way.
    pub(super) handshakes: usize,
}

impl From<&Options> for Limits {
    fn from(options: &Options) -> Self {
        Self {
            header_timeout: options.header_timeout.0,
            body_timeout: options.body_timeout.0,
            min_rate: options.min_rate.0,
            body_time: options.body_time.map(|time| time.0),
            keep_alive: options.keep_alive.0,
            header_size: usize::try_from(options.max_header_size.0).unwrap_or(usize::MAX),
            headers: options.max_headers,
            connections: options.max_connections,
            title_case_headers: options.title_case_headers,
            handshake_timeout: options.handshake_timeout.0,
            handshakes: options.max_handshakes,
        }
    }
}
