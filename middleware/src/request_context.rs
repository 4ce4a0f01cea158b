//! What a stage of a stack knows of its request, while it has it.

use crate::timing::StackVisit;
use crate::{Place, RequestSummary};

/// What a stage knows of its request.
pub(crate) enum RequestContext {
    Unknown,
    Known(RequestSummary),
    /// Its clock is with the place.
    Timed(StackVisit),
}

impl RequestContext {
    /// The request comes to a place.
    pub(crate) fn enter(summary: Option<RequestSummary>, place: &Place) -> Self {
        match summary.map(|summary| StackVisit::begin(summary, place)) {
            None => Self::Unknown,
            Some(Err(summary)) => Self::Known(summary),
            Some(Ok(visit)) => Self::Timed(visit),
        }
    }

    /// Its summary.
    pub(crate) const fn summary(&self) -> Option<&RequestSummary> {
        match self {
            Self::Unknown => None,
            Self::Known(summary) => Some(summary),
            Self::Timed(visit) => Some(visit.request()),
        }
    }
}
