//! Worker processes: the front, which never runs Python, and the processes that do.
//!
//! A wsgi app has one [`admission`]: a bounded queue, and desks where calls are served. A desk is a worker process at the other end of a
//! [`link`], or the threads of this process. The crew (`crew`) starts the workers of one app, watches them and replaces them.

pub(crate) mod admission;
pub(crate) mod boot;
pub(crate) mod crew;
pub(crate) mod identity;
pub(crate) mod launch;
pub(crate) mod link;
pub(crate) mod title;
