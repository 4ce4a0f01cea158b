//! Ziggurat: one JSON file declares a stack of native layers around a WSGI app, and one process tree runs it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod apps;
mod builtin;
pub mod pipeline;
pub mod server;
pub mod wsgi;

pub use builtin::builtin;
