//! The border to Python: Python middleware between native layers, in memory and as the program runs it. Every case on every executor.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bodies;
mod cases;
mod environ;
mod exceptions;
mod hostile;
mod load;
mod native;
mod order;
mod program;
#[path = "../black_box/support.rs"]
#[allow(dead_code)]
mod program_support;
mod real;
mod streams;
mod support;
mod timing;
