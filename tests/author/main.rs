//! Crates with layers of their own, from the hand of their author: `ziggurat new`, and the guide done word for word.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod curl;
mod guide;
mod new;
mod workshop;

#[path = "../black_box/support.rs"]
#[allow(dead_code)]
mod support;
