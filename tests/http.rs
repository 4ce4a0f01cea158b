//! The server over real sockets, with stacks that record what reaches them.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "http/support.rs"]
mod support;

#[path = "http/cases.rs"]
mod cases;

#[path = "http/basics.rs"]
mod basics;

#[path = "http/limits.rs"]
mod limits;

#[path = "http/crowds.rs"]
mod crowds;

#[path = "http/ends.rs"]
mod ends;

#[path = "http/replace.rs"]
mod replace;

#[path = "http/http2.rs"]
mod http2;

#[path = "http/http2_floods.rs"]
mod http2_floods;

#[path = "http/hints.rs"]
mod hints;

#[path = "http/upgrades.rs"]
mod upgrades;

#[path = "black_box/h2_websocket.rs"]
mod h2_websocket;

#[path = "http/websockets.rs"]
mod websockets;

#[path = "http/cut.rs"]
mod cut;

#[path = "http/metrics.rs"]
mod metrics;
