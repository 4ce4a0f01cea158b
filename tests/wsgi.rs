//! The WSGI app in memory: requests go into the built service and no socket is open. Every case runs on both executors.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "wsgi/bodies.rs"]
mod bodies;
#[path = "wsgi/deadlines.rs"]
mod deadlines;
#[path = "wsgi/environ.rs"]
mod environ;
#[path = "wsgi/files.rs"]
mod files;
#[path = "wsgi/frameworks.rs"]
mod frameworks;
#[path = "wsgi/hostile.rs"]
mod hostile;
#[path = "wsgi/interpreter.rs"]
mod interpreter;
#[path = "wsgi/loading.rs"]
mod loading;
#[path = "wsgi/serving.rs"]
mod serving;
#[path = "wsgi/streams.rs"]
mod streams;
#[path = "wsgi/support.rs"]
mod support;
#[path = "wsgi/threads.rs"]
mod threads;
