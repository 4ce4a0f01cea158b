//! How the kernel schedules the threads between a socket and the app.

/// Makes this thread one of `SCHED_BATCH` (sched(7)): when it is woken, it does not interrupt the thread that has the core. A request, its hand-over to the app, and its
/// response would interrupt Python three times otherwise, each time for a few microseconds of work, and Python would find its caches cold. On an idle core nothing
/// changes. A thread that another policy was chosen for keeps it. What this thread starts is scheduled so, too.
pub(crate) fn run_in_batches() {
    change(libc::SCHED_OTHER, libc::SCHED_BATCH);
}

/// Undoes [`run_in_batches`], for a worker that one of its threads has started. Threads that wait for the interpreter have to interrupt the one that gives it up: it would
/// take it again.
pub(super) fn run_as_usual() {
    change(libc::SCHED_BATCH, libc::SCHED_OTHER);
}

fn change(from: libc::c_int, to: libc::c_int) {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: The calls concern this thread only (0), and read `parameter`. Between these policies, they take no privilege. Where they are not allowed, the thread is
    // scheduled as before.
    #[allow(unsafe_code)]
    unsafe {
        if libc::sched_getscheduler(0) == from {
            let _ = libc::sched_setscheduler(0, to, &raw const parameter);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// The policy of this thread: 0 is the usual one, 3 is `SCHED_BATCH` (proc_pid_stat(5), field 41).
    fn policy() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(38).unwrap().to_owned()
    }

    #[test]
    fn a_thread_runs_in_batches_and_a_worker_that_it_starts_does_not() {
        let policies = thread::spawn(|| {
            run_in_batches();
            let of_worker = thread::spawn(|| {
                let inherited = policy();
                run_as_usual();
                (inherited, policy())
            });
            (policy(), of_worker.join().unwrap())
        });
        assert_eq!(policies.join().unwrap(), ("3".to_owned(), ("3".to_owned(), "0".to_owned())));
    }
}
