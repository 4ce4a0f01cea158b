//! How an admission fares, for status and metrics.

use ziggurat_middleware::metrics::Distribution;

use super::DeskId;

/// The figures of one app's queue at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Requests that wait, those handed out ahead included, and how many may.
    pub(crate) waiting: usize,
    pub(crate) limit: usize,
    /// Threads of open desks, and how many of all desks serve a request.
    pub(crate) threads: usize,
    pub(crate) busy: usize,
    /// So far:
    pub(crate) total: Totals,
    /// How long requests waited until a desk got them.
    pub(crate) waits: Distribution,
    pub(crate) desks: Vec<DeskFigures>,
}

/// Requests since the app was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Handed to a desk (again, where one gave it back).
    pub(crate) begun: u64,
    /// Refused because the queue was full.
    pub(crate) refused_full: u64,
    /// Refused because they had waited too long.
    pub(crate) refused_waited: u64,
    /// Over their deadline.
    pub(crate) expired: u64,
}

/// The figures of one desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeskFigures {
    pub(crate) id: DeskId,
    /// It is handed calls.
    pub(crate) is_open: bool,
    pub(crate) threads: usize,
    /// Calls it has, those ahead included.
    pub(crate) in_progress: usize,
    pub(crate) begun: u64,
}
