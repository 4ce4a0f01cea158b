//! Black-box tests: the program, real sockets, real Python.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod commands;
mod process;
mod support;
