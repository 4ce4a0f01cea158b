//! `sendfile` over real files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod names;
mod options;
mod support;
