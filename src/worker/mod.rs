//! Worker processes. The server process never runs Python; it sends calls to processes that do.
//!
//! A `wsgi` app has an [`admission`]: a bounded queue, and backends that run calls. A backend is a worker process at the other end of a [`link`], or
//! threads of this process. A [`pool`] starts the workers of one app, supervises them and replaces them.

pub(crate) mod admission;
pub(crate) mod boot;
pub(crate) mod descriptors;
pub(crate) mod django_settings;
pub(crate) mod environment;
pub(crate) mod exits;
pub(crate) mod identity;
pub(crate) mod launcher;
pub(crate) mod link;
pub(crate) mod pool;
mod process_status;
pub(crate) mod spawner;
pub(crate) mod title;

/// A fact about the program that builds a stack: it only tries whether that can be done. Each app is imported once, however many workers it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial;

/// A fact about the program that builds a stack: it serves one request and ends. Each app runs on one thread of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SingleRequest;

/// Parsing of frames, for the fuzzer.
#[cfg(fuzzing)]
pub mod fuzz {
    /// Frames from a server.
    pub fn orders(octets: &[u8]) {
        super::link::frame::check_orders(octets);
    }

    /// Frames from a worker.
    pub fn reports(octets: &[u8]) {
        super::link::frame::check_reports(octets);
    }
}
