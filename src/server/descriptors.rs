//! The descriptors of the process, which connections share with files and workers.

use std::fs::{metadata, read_dir};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, getrlimit};
use tokio::time::Instant;
use ziggurat_middleware::is_out_of_descriptors;

/// How many more connections the descriptors of the process are enough for. Descriptors are counted once for several connections.
///
/// Files and connections to upstream servers may take the whole reserve. Clients can be told even then: some descriptors are held for them.
#[derive(Debug)]
pub(super) struct Descriptors {
    /// How many the process may have, and how many of them connections leave to others: files, links to workers, answers to clients without room.
    limit: i64,
    reserve: i64,
    /// How many connections may be served before descriptors are counted again; negative if others have taken of the reserve.
    left: i64,
    /// When descriptors may be counted again, after none was left.
    recount: Option<Instant>,
    /// Open only to be closed when a client comes and there is no other descriptor.
    held: Vec<OwnedFd>,
}

/// How long descriptors are not counted again after none was left. Old kernels take several milliseconds to count 10,000 of them.
const PAUSE: Duration = Duration::from_millis(100);

/// Where Linux lists the descriptors of the process.
const LIST: &str = "/proc/self/fd";

impl Descriptors {
    /// As the process may have them now.
    pub(super) fn of_process() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        Self::new(limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(i64::MAX))
    }

    fn new(limit: i64) -> Self {
        Self { limit, reserve: (limit / 4).min(1_024), left: 0, recount: None, held: Vec::new() }
    }

    /// How many clients that are not served may have descriptors.
    pub(super) fn for_unserved(&self) -> usize {
        usize::try_from(self.reserve / 2).unwrap_or(usize::MAX)
    }

    /// Holds descriptors for so many clients, as far as there are any.
    pub(super) fn hold(&mut self, clients: usize) {
        self.held.truncate(clients);
        while self.held.len() < clients {
            let Ok(descriptor) = eventfd(0, EventfdFlags::CLOEXEC) else { return };
            self.held.push(descriptor);
        }
    }

    /// Closes a descriptor that is held for a client, because there is no other one. `false` if none is held.
    pub(super) fn release(&mut self) -> bool {
        self.left = self.left.min(0);
        self.held.pop().is_some()
    }

    /// Whether the reserve is left beside the socket of a new connection. `unserved` clients have descriptors that belong to the reserve.
    pub(super) fn suffice(&mut self, unserved: usize) -> bool {
        self.left > 0 || self.count(unserved + self.held.len(), open_descriptors)
    }

    /// Notes that the descriptor of a new connection stays open.
    pub(super) const fn take(&mut self) {
        self.left -= 1;
    }

    /// Notes that a connection has ended.
    pub(super) fn give_back(&mut self) {
        self.left = (self.left + 1).min(self.batch());
    }

    /// When it is worthwhile to ask again, if the answer was no.
    pub(super) const fn recount(&self) -> Option<Instant> {
        self.recount
    }

    fn count(&mut self, unserved: usize, open: impl FnOnce() -> io::Result<usize>) -> bool {
        let now = Instant::now();
        if self.recount.is_some_and(|recount| now < recount) {
            return false;
        }
        // Without a list, `accept` fails when none is left.
        let taken = i64::try_from(open().unwrap_or(0).saturating_sub(unserved)).unwrap_or(i64::MAX);
        self.left = (self.limit - self.reserve).saturating_sub(taken).min(self.batch());
        self.recount = (self.left <= 0).then(|| now + PAUSE);
        self.left > 0
    }

    /// Others may take as many between two counts, and half of the reserve is left.
    const fn batch(&self) -> i64 {
        self.reserve / 4 + 1
    }
}

/// How many descriptors of the process are open.
fn open_descriptors() -> io::Result<usize> {
    // Since Linux 6.2, the size tells it.
    match metadata(LIST)?.len() {
        // The list itself has a descriptor.
        0 => match read_dir(LIST) {
            Ok(list) => Ok(list.count().saturating_sub(1)),
            Err(error) if is_out_of_descriptors(&error) => Ok(usize::MAX),
            Err(error) => Err(error),
        },
        open => Ok(usize::try_from(open).unwrap_or(usize::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_descriptors_is_left_to_others_but_no_more_than_1024() {
        for (limit, most) in [(200, 150), (1 << 20, (1 << 20) - 1_024)] {
            let left = |open| Descriptors::new(limit).count(0, || Ok(open));
            assert!(left(most - 1) && !left(most) && !left(usize::MAX), "{limit}");
        }
    }

    #[test]
    fn those_of_unserved_clients_belong_to_the_reserve() {
        assert!(Descriptors::new(200).count(20, || Ok(169)));
        assert!(!Descriptors::new(200).count(20, || Ok(170)));
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_counted_again_after_some_connections_and_after_a_pause() {
        let mut descriptors = Descriptors::new(200);
        assert!(descriptors.count(0, || Ok(149)) && descriptors.left == 1);
        descriptors.take();
        assert!(!descriptors.count(0, || Ok(150)) && !descriptors.count(0, || panic!("counted too early")));
        descriptors.give_back();
        assert!(descriptors.suffice(0));
        descriptors.take();
        tokio::time::advance(PAUSE).await;
        // Others have taken three, so that two that end make no room.
        assert!(!descriptors.count(0, || Ok(153)) && descriptors.left == -3);
        descriptors.give_back();
        descriptors.give_back();
        assert!(!descriptors.suffice(0));
        tokio::time::advance(PAUSE).await;
        assert!(descriptors.count(0, || Ok(0)) && descriptors.left == descriptors.batch());
    }

    #[test]
    fn those_that_are_held_are_given_away_one_by_one() {
        let mut descriptors = Descriptors::new(200);
        descriptors.hold(2);
        assert!(descriptors.suffice(0));
        assert_eq!([(); 3].map(|()| descriptors.release()), [true, true, false]);
    }

    #[test]
    fn an_open_file_is_counted() {
        let before = open_descriptors().unwrap();
        let files: Vec<_> = (0..100).map(|_| tempfile::tempfile().unwrap()).collect();
        // Other tests of this process open and close some.
        assert!(open_descriptors().unwrap() >= before + 50);
        drop(files);
    }
}
