//! Counts what a layer has decided about requests.

use std::sync::Arc;

use crate::Context;
use crate::metrics::Counter;

/// What a layer that authenticates has decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The request passes.
    Allowed,
    /// The request has no credentials.
    Missing,
    /// The credentials are wrong: 401.
    Invalid,
    /// The credentials are right and do not suffice: 403.
    Forbidden,
    /// It cannot be decided: 502 or 503.
    Unavailable,
}

impl Decision {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Allowed, "allowed"),
        (Self::Missing, "missing"),
        (Self::Invalid, "invalid"),
        (Self::Forbidden, "forbidden"),
        (Self::Unavailable, "unavailable"),
    ];
}

/// The decisions of one layer. They are kept across reloads, and shown as `ziggurat_auth_decisions_total`.
#[derive(Debug, Default)]
pub(crate) struct Decisions([Counter; Decision::ALL.len()]);

impl Decisions {
    /// The decisions of the layer at this place.
    pub(crate) fn keep(context: &Context) -> Arc<Self> {
        let decisions = context.keep(Self::default);
        let (counted, place) = (Arc::clone(&decisions), context.place().clone());
        context.on_scrape(move |metrics| {
            let family = metrics.counter("ziggurat_auth_decisions_total", "Decisions of layers that authenticate clients.");
            for ((_, name), count) in Decision::ALL.iter().zip(&counted.0) {
                family.sample(&[("place", place.as_str()), ("decision", name)], count);
            }
        });
        decisions
    }

    pub(crate) fn count(&self, decision: Decision) {
        if let Some((_, count)) = Decision::ALL.iter().zip(&self.0).find(|((known, _), _)| *known == decision) {
            count.add(1);
        }
    }
}
