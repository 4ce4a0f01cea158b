//! The WSGI app in memory: requests go into the built service and no socket is open. Every case runs on both executors.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "wsgi/frameworks.rs"]
mod frameworks;
#[path = "wsgi/serving.rs"]
mod serving;
#[path = "wsgi/support.rs"]
mod support;
