//! Where the time of a request goes: self time, by layer and app.
//!
//! At each moment, the clock of a request is with one place: the innermost layer or app that has been asked for the response, or for the next part of its body, and
//! has not answered. The *self time* of a place is the time that the clock was with it. So the self times of a request add up to its duration, except for the time in
//! which the client takes what there is of the response.
//!
//! A [`Place`](crate::Place) of a stack under [`Timings`] carries the figures of its layer or app. [`Next`](crate::Next), where every layer is erased, starts and stops
//! the clock. Other stacks are not measured, and the clock costs them nothing.

mod body;
mod clock;
mod recent;
mod slow;
mod span;
#[cfg(test)]
mod tests;
mod thread;
mod timings;
mod visit;

pub(crate) use body::TimedBody;
pub use clock::RequestClock;
pub use recent::RecentErrors;
pub use span::{AppPart, SelfTime, Span, ThreadSpan};
pub use timings::{PlaceFigures, Timings};
pub(crate) use timings::{PlaceTimes, StackBegin};
pub(crate) use visit::StackVisit;
pub use visit::{BodyVisit, PartVisit, ThreadVisit, Visit};
