//! The limit on open descriptors. The server raises its own; apps have the one that it was started with, because they and their programs may use
//! select(2).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a worker needs beside the sockets of its WebSockets.
const OWN: u64 = 256;

/// The soft limit that the server was started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DescriptorLimit(Option<u64>);

impl DescriptorLimit {
    /// Raises this process's soft limit to the hard one: each connection is a descriptor.
    pub(crate) fn raise() -> Self {
        let limit = getrlimit(Resource::Nofile);
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
            tracing::warn!("cannot raise the limit on open descriptors: {error}");
        }
        Self(limit.current)
    }

    /// The soft limit of a worker that may have so many WebSockets; `None` for no limit.
    pub(crate) fn of_worker(self, websockets: u64) -> Option<u64> {
        let needed = if websockets > 0 { websockets.saturating_add(OWN) } else { 0 };
        self.0.map(|limit| limit.max(needed))
    }
}

/// Sets this process's soft limit, up to the hard one.
pub(crate) fn limit_descriptors(current: u64) {
    let limit = getrlimit(Resource::Nofile);
    let current = Some(limit.maximum.map_or(current, |maximum| current.min(maximum)));
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, ..limit }) {
        tracing::warn!("cannot set the limit on open descriptors: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_the_limit_of_the_start_or_what_its_websockets_need() {
        let limit = DescriptorLimit(Some(1024));
        assert_eq!((limit.of_worker(0), limit.of_worker(100), limit.of_worker(5000)), (Some(1024), Some(1024), Some(5256)));
        assert_eq!(DescriptorLimit(None).of_worker(5000), None);
    }
}
