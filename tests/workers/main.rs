//! Worker processes: the program, real sockets, real Python, real signals.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bodies;
mod deaths;
mod early_hints;
mod environment;
#[path = "../black_box/h2_websocket.rs"]
#[allow(dead_code)] // Not all of it is needed here.
mod h2_websocket;
mod load;
mod preload;
mod process;
mod recycling;
mod reloading;
mod site;
mod slow_clients;
mod starting;
mod status;
#[path = "../black_box/support.rs"]
mod support;
mod under_load;
mod websocket_libraries;
mod websockets;
mod websockets_http2;
