//! The descriptors of the process, which connections share with files and workers.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};

/// How many descriptors the process may have, and how many of them connections leave to others: files, links to workers, answers to clients without room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptors {
    limit: u64,
    reserve: u64,
}

impl Descriptors {
    /// As the process may have them now.
    pub(super) fn of_process() -> Self {
        Self::new(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn new(limit: u64) -> Self {
        Self { limit, reserve: (limit / 4).min(1_024) }
    }

    /// Whether the reserve is left beside the socket of a new connection. The kernel gives the lowest free number, so a number tells how many descriptors are
    /// open, files included.
    pub(super) fn suffice(self, socket: &impl AsFd) -> bool {
        let is_low = |fd: &dyn AsRawFd| u64::try_from(fd.as_raw_fd()).is_ok_and(|number| number.saturating_add(self.reserve) < self.limit);
        // The socket may have waited while others were closed.
        is_low(&socket.as_fd()) || fcntl_dupfd_cloexec(socket, 0).is_ok_and(|lowest| is_low(&lowest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_descriptors_is_left_to_others_but_no_more_than_1024() {
        let file = tempfile::tempfile().unwrap();
        assert!(Descriptors::new(1_000_000).suffice(&file));
        assert!(!Descriptors::new(3).suffice(&file));
        assert_eq!((Descriptors::new(200).reserve, Descriptors::new(1 << 20).reserve), (50, 1_024));
    }
}
