//! Keeps freed memory for what comes next, and gives what a burst has left behind back to the system.
//!
//! Without the first, the allocator of glibc takes each body of some hundred KiB from the system, which zeroes it page by page, and gives it back at its
//! end. Without the second, one long-lived allocation holds a burst of short-lived ones below it.

use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How often the process looks at its memory.
const INTERVAL: Duration = Duration::from_secs(10);
/// The longest time between two looks, after several that found nothing to give back.
const LONGEST: Duration = Duration::from_secs(320);
/// Growth that is worth the work: the allocator locks each of its arenas meanwhile.
const GROWTH: u64 = 16 << 20;

/// Memory of this length and more comes from the system, and goes back to it at once, in octets. It is the most that glibc allows.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 32 << 20;
/// How much may be free at the top of an arena, in octets.
#[cfg(target_env = "gnu")]
const FREE: i32 = 64 << 20;

/// Looks at the memory of the process for as long as it is polled.
pub(super) async fn give_back() -> Infallible {
    keep();
    let mut policy = Policy::new(resident().unwrap_or_default());
    loop {
        sleep(policy.interval).await;
        let Some(before) = resident().filter(|now| policy.is_due(*now)) else { continue };
        // The walk over the arenas takes milliseconds.
        let _ = spawn_blocking(trim).await;
        policy.given_back(before, resident().unwrap_or(before));
    }
}

/// When it is worth it.
struct Policy {
    /// What the process had after the last time.
    least: u64,
    interval: Duration,
}

impl Policy {
    const fn new(least: u64) -> Self {
        Self { least, interval: INTERVAL }
    }

    fn is_due(&mut self, resident: u64) -> bool {
        self.least = self.least.min(resident);
        resident - self.least > GROWTH
    }

    /// Waits twice as long where most of the growth is in use.
    fn given_back(&mut self, before: u64, after: u64) {
        let kept = after.saturating_sub(self.least);
        self.interval = if kept > before.saturating_sub(self.least) / 2 { LONGEST.min(self.interval * 2) } else { INTERVAL };
    }
}

/// The resident memory of this process that no file backs, in octets (proc_pid_status(5)).
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"))?;
    Some(kib.parse::<u64>().ok()? << 10)
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn keep() {
    // SAFETY: may be called at any time and from any thread (mallopt(3)). Where a value is refused, the usual one stays.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, FREE);
    }
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn trim() {
    // SAFETY: may be called at any time and from any thread (malloc_trim(3)); it takes the locks of the allocator itself.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do both themselves.
#[cfg(not(target_env = "gnu"))]
fn keep() {}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn memory_that_grows_little_is_left_alone() {
        let mut policy = Policy::new(30 * MIB);
        assert!(!policy.is_due(46 * MIB));
        assert!(policy.is_due(47 * MIB));
        // The process has less at rest than at its start.
        assert!(!policy.is_due(10 * MIB));
        assert!(policy.is_due(27 * MIB));
    }

    #[test]
    fn memory_in_use_is_looked_at_less_and_less_often_until_it_is_free() {
        let mut policy = Policy::new(30 * MIB);
        for seconds in [20, 40, 80, 160, 320, 320] {
            policy.given_back(200 * MIB, 190 * MIB);
            assert_eq!(policy.interval.as_secs(), seconds);
        }
        policy.given_back(200 * MIB, 40 * MIB);
        assert_eq!(policy.interval, INTERVAL);
    }
}
