//! Ends a worker whose server is gone, even while its app is being imported.

use std::os::fd::AsFd;
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, write};
use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group};

/// Runs `work`, and kills this process if the other end of `link` closes meanwhile. No thread is left afterwards.
pub(super) fn over<T>(link: impl AsFd + Sync, work: impl FnOnce() -> T) -> T {
    let Ok(done) = eventfd(0, EventfdFlags::CLOEXEC) else { return work() };
    thread::scope(|scope| {
        let watching = thread::Builder::new().name("ziggurat-watch".to_owned()).spawn_scoped(scope, || {
            loop {
                let mut polled = [PollFd::new(&link, PollFlags::RDHUP), PollFd::new(&done, PollFlags::IN)];
                match poll(&mut polled, None) {
                    Err(Errno::INTR) => {}
                    Err(_) => return,
                    Ok(_) if !polled[1].revents().is_empty() => return,
                    Ok(_) => end(),
                }
            }
        });
        let outcome = work();
        // This counter is never at its maximum.
        let _ = write(&done, &1_u64.to_ne_bytes());
        if let Ok(watching) = watching {
            // Joined here, because the scope would only wait for the closure: a process that forks must have no other thread.
            let _ = watching.join();
        }
        outcome
    })
}

/// Kills this process, and those that the app has started. No code of the app runs any more.
pub(super) fn end() {
    // Otherwise it belongs to the group of whoever has started it.
    if getpgrp() == getpid() {
        let _ = kill_process_group(getpid(), Signal::KILL);
    }
    let _ = kill_process(getpid(), Signal::KILL);
}
