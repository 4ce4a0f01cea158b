//! The `proxy` app from outside: raw sockets before it and behind it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod balance;
#[path = "../black_box/support.rs"]
#[allow(dead_code)] // Not all of it is needed here.
mod black_box;
mod bodies;
mod drain;
#[path = "../black_box/h2_websocket.rs"]
#[allow(dead_code)] // Not all of it is needed here.
mod h2_websocket;
mod http2;
mod http2_connections;
mod keep_alive;
mod log;
mod many_websockets;
mod processes;
mod program;
mod proxy_protocol;
mod reload;
mod requests;
mod retry;
mod support;
mod threads;
mod time;
mod tls;
mod upgrade;
mod websockets;
