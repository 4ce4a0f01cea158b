//! Blocks a thread of Python's until a future is ready.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::Duration;

use pyo3::prelude::*;

/// The longest delay of a signal handler.
const DEAF: Duration = Duration::from_millis(50);

/// Blocks this thread, which must be detached. On Python's main thread signal handlers run meanwhile. If one raises an exception
/// (`KeyboardInterrupt`, or a server's time limit), that is returned and the future is dropped.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> PyResult<T> {
    let mut future = pin!(future);
    let sleeper = Arc::new(Sleeper { thread: thread::current(), is_woken: AtomicBool::new(false) });
    let waker = Arc::clone(&sleeper).into();
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(value);
        }
        while !sleeper.is_woken.swap(false, Ordering::Acquire) {
            thread::park_timeout(DEAF);
            if !sleeper.is_woken.load(Ordering::Acquire) {
                Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(()))?;
            }
        }
    }
}

struct Sleeper {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn what_another_thread_gives_is_waited_for() {
        let (sender, receiver) = oneshot::channel();
        let giver = thread::spawn(move || sender.send(7));
        assert_eq!(wait(receiver).unwrap(), Ok(7));
        giver.join().unwrap().unwrap();
        assert_eq!(wait(ready(8)).unwrap(), 8);
    }
}
