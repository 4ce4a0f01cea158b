//! The link between the front and a worker: one Unix socket, on which many calls are under way at once.
//!
//! [`frame`] has the words. The front's end is asynchronous ([`front`]); the worker's is two things: one thread that reads ([`back`]), and an
//! [`outbox`] into which the threads that run Python put their answers ([`exit`]).

pub(crate) mod back;
pub(crate) mod exit;
pub(crate) mod frame;
pub(crate) mod front;
pub(crate) mod outbox;
mod under_way;
mod upload;
