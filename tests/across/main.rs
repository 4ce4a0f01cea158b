//! The border to Python: Python middleware between native layers, in memory and as the program runs it. Every case on every executor.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bodies;
mod environ;
mod exceptions;
mod hostile;
mod load;
mod order;
mod program;
#[path = "../black_box/support.rs"]
mod program_support;
mod streams;
mod support;
