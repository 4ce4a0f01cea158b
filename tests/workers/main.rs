//! Worker processes: the program, real sockets, real Python, real signals.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod deaths;
mod preload;
mod recycling;
mod site;
mod starting;
#[path = "../black_box/support.rs"]
mod support;
