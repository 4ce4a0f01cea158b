//! The `proxy` app from outside: raw sockets before it and behind it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod balance;
mod bodies;
mod http2;
mod processes;
mod requests;
mod retry;
mod support;
mod time;
mod tls;
mod upgrade;
