//! Worker processes: the program, real sockets, real Python, real signals.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bodies;
mod deaths;
mod load;
mod preload;
mod recycling;
mod reloading;
mod site;
mod starting;
mod status;
#[path = "../black_box/support.rs"]
mod support;
mod under_load;
mod websocket_libraries;
mod websockets;
