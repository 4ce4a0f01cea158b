//! Worker processes: the front, which never runs Python, and the processes that do.
//!
//! A wsgi app has one [`admission`]: a bounded queue, and backends where calls are served. A backend is a worker process at the other end of a
//! [`link`], or the threads of this process. The crew (`crew`) starts the workers of one app, watches them and replaces them.

pub(crate) mod admission;
pub(crate) mod boot;
pub(crate) mod django_settings;
pub(crate) mod identity;
pub(crate) mod launcher;
pub(crate) mod link;
pub(crate) mod pool;
pub(crate) mod title;

/// What a link makes of any octets, for the fuzzer.
#[cfg(fuzzing)]
pub mod fuzz {
    /// As a front might send them.
    pub fn orders(octets: &[u8]) {
        super::link::frame::check_orders(octets);
    }

    /// As a worker might send them.
    pub fn reports(octets: &[u8]) {
        super::link::frame::check_reports(octets);
    }
}
