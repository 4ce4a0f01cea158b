//! Python threads that run calls from one queue.
//!
//! A thread takes a call only while it is attached, so no call is stuck with a thread that waits for the interpreter; it goes on while calls wait, so
//! short calls need no switch. At most one other thread is woken at a time. It attaches at once when the app detaches to wait. If the app computes,
//! Python interrupts it after a while in favor of that thread, which then runs one call and sleeps again while the interrupted call goes on.
//! (Otherwise threads interrupt each other in turn, and now and then a fast call takes tens of milliseconds.)

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tokio::runtime::Handle;

use super::app_thread;
use super::application::Application;
use super::interpreter::try_attach;
use super::sleeper::Sleeper;
use super::watchdog::Watchdog;
use crate::call::{Call, CallSignal, RequestBody, ending};
use crate::worker::admission::{Backend, Permit};

/// How many calls these threads prefetch. A thread takes the next one without asking the admission, and calls that come meanwhile need only one
/// wake-up: with as many clients as usual load generators have, short calls never wait outside. A stalled pool's calls are recalled.
pub(super) const PREFETCH: usize = 64;

/// The stack size of Python's own threads on Linux, which deep recursion in C code of the app may need.
pub(crate) const STACK: usize = 8 << 20;

/// A thread that waited so long for the interpreter has interrupted another one: Python requests that after 5 ms.
const INTERRUPTED: Duration = Duration::from_millis(4);

/// How long the shutdown waits for threads inside the app.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The threads of one app. Dropping it ends them. `P` is the permit of each call: an admission's in the server process, a link's in a worker.
pub(crate) struct ThreadPool<P: Send + 'static>(Arc<Shared<P>>);

struct Shared<P> {
    application: Arc<Application>,
    state: Mutex<QueueState<P>>,
    /// The threads that have started.
    own: Box<[OnceLock<ThreadId>]>,
    before_sleep: Box<dyn Fn() + Send + Sync>,
    watchdog: Arc<Watchdog>,
    ended: Condvar,
}

struct QueueState<P> {
    queue: VecDeque<(Call, P)>,
    /// Sleeping threads; the last one fell asleep last.
    idle: Vec<Idle>,
    /// A thread was woken and has not reached the queue yet, or is about to be woken.
    coming: bool,
    /// Threads that have reached the queue and do not sleep; they may be waiting inside the app.
    awake: usize,
    closed: bool,
    threads: usize,
}

struct Idle {
    nth: usize,
    sleeper: Sleeper,
}

impl<P: Send + 'static> ThreadPool<P> {
    /// Starts `threads` threads for the app. With `has_caller`, the thread that calls [`ThreadPool::run_here`] is one of them.
    ///
    /// A thread runs `before_sleep` whenever it becomes idle, detached. `dump` logs the stacks of all threads if the interpreter is not available.
    pub(crate) fn start(
        application: &Arc<Application>,
        threads: usize,
        has_caller: bool,
        before_sleep: impl Fn() + Send + Sync + 'static,
        dump: fn(),
    ) -> PyResult<Self> {
        let state =
            QueueState { queue: VecDeque::new(), idle: Vec::with_capacity(threads), coming: false, awake: 0, closed: false, threads: 0 };
        let own = (0..threads).map(|_| OnceLock::new()).collect();
        let watchdog = Watchdog::new(application.place(), threads, dump);
        let pool = Self(Arc::new(Shared {
            application: Arc::clone(application),
            state: Mutex::new(state),
            own,
            before_sleep: Box::new(before_sleep),
            watchdog,
            ended: Condvar::new(),
        }));
        pool.0.lock().threads = threads;
        for nth in usize::from(has_caller)..threads {
            let shared = Arc::clone(&pool.0);
            let run = move |py: Python<'_>| shared.run(py, nth, &Sleeper::of_this_thread());
            Python::attach(|py| app_thread::start(py, &format!("wsgi-{nth}"), run))?;
        }
        Ok(pool)
    }

    /// Runs calls on this thread, which is Python's main thread, until the pool ends.
    pub(crate) fn run_here(&self, sleeper: &Sleeper) {
        // The interpreter is only gone when the process is about to exit.
        try_attach(|py| self.0.run(py, 0, sleeper));
    }

    /// Takes no more calls and answers the waiting ones. Waits for a short time until the threads have ended.
    pub(crate) fn end(&self) {
        self.0.close(true);
        let until = Instant::now() + SHUTDOWN_TIMEOUT;
        let mut state = self.0.lock();
        while state.threads > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!("{} threads of the app are still busy and are left behind", state.threads);
                return;
            }
            state = self.0.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<P: Send + 'static> Drop for ThreadPool<P> {
    fn drop(&mut self) {
        self.0.close(true);
    }
}

impl<P: Send + 'static> ThreadPool<P> {
    /// Accepts a call. [`ThreadPool::wake`] follows after the last call of a batch.
    pub(crate) fn put(&self, call: Call, permit: P) {
        if matches!(call.body, RequestBody::WebSocket(_)) {
            return self.0.serve_websocket(call, permit);
        }
        let mut state = self.0.lock();
        if !state.closed {
            state.queue.push_back((call, permit));
            return;
        }
        // Dropping the permit may lock the pool.
        drop(state);
        call.responder.fail(ending());
    }

    /// Wakes a thread for the accepted calls.
    pub(crate) fn wake(&self) {
        let state = self.0.lock();
        if !state.queue.is_empty() {
            wake_one(state);
        }
    }

    /// Takes out a call that no thread has begun.
    pub(crate) fn recall(&self, number: u64) -> Option<(Call, P)> {
        let mut state = self.0.lock();
        let at = state.queue.iter().position(|(call, _)| call.number == number)?;
        state.queue.remove(at)
    }

    /// Handles a signal about a call. Does nothing if the call is over.
    pub(crate) fn signal(&self, number: u64, signal: CallSignal) {
        match signal {
            CallSignal::Cancel | CallSignal::Recall => drop(self.recall(number)),
            CallSignal::Trace => self.0.watchdog.trace(number),
            CallSignal::Expire => {
                drop(self.recall(number));
                self.0.watchdog.expire(number);
            }
        }
    }

    /// Lets the threads end after the accepted calls. No more may come.
    pub(crate) fn finish(&self) {
        self.0.close(false);
    }

    /// Whether no more calls may come.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// Waits until all threads have ended.
    pub(crate) fn wait(&self) {
        let state = self.0.lock();
        drop(self.0.ended.wait_while(state, |state| state.threads > 0));
    }

    /// Logs the stacks of all threads.
    pub(crate) fn stacks(&self) {
        self.0.watchdog.stacks();
    }
}

impl Backend for ThreadPool<Permit> {
    fn begin(&self, call: Call, permit: Permit) {
        self.put(call, permit);
        let mut state = self.0.lock();
        if state.coming || state.idle.is_empty() || state.queue.is_empty() {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => {
                state.coming = true;
                drop(state);
                runtime.spawn(wake_soon(Arc::clone(&self.0)));
            }
            // This is a thread of the pool that has finished a call and looks for the next one now.
            Err(_) if self.0.is_own(thread::current().id()) => {}
            Err(_) => wake_one(state),
        }
    }

    fn signal(&self, number: u64, signal: CallSignal) -> bool {
        if signal != CallSignal::Recall {
            Self::signal(self, number, signal);
            return true;
        }
        let Some((call, permit)) = self.recall(number) else { return self.0.watchdog.is_serving(number) };
        if let Some(admission) = permit.admission() {
            admission.take_back(vec![(call, permit)]);
        }
        true
    }
}

/// Wakes a thread when this IO thread becomes idle, or after a few dozen tasks; until then calls accumulate. (On a busy machine a thread that is
/// woken at once displaces the IO thread for every call, which was half of the cost of a small call.)
async fn wake_soon<P: Send + 'static>(shared: Arc<Shared<P>>) {
    tokio::task::yield_now().await;
    let mut state = shared.lock();
    state.coming = false;
    if !state.queue.is_empty() {
        wake_one(state);
    }
}

/// Wakes the thread that fell asleep last, unless one has been woken already.
fn wake_one<P>(mut state: MutexGuard<'_, QueueState<P>>) {
    if state.coming {
        return;
    }
    if let Some(idle) = state.idle.pop() {
        state.coming = true;
        drop(state);
        idle.sleeper.wake();
    }
}

impl<P: Send + 'static> Shared<P> {
    fn lock(&self) -> MutexGuard<'_, QueueState<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one thread does from its start to its end.
    fn run(&self, py: Python<'_>, nth: usize, sleeper: &Sleeper) {
        // This thread alone sets it.
        let _ = self.own[nth].set(thread::current().id());
        self.watchdog.enlist(nth);
        self.serve_all(py, nth, sleeper);
        self.leave();
    }

    /// Runs calls until the pool is closed.
    fn serve_all(&self, py: Python<'_>, nth: usize, sleeper: &Sleeper) {
        let mut interrupts = false;
        let mut state = self.lock();
        state.awake += 1;
        loop {
            while let Some((call, permit)) = state.queue.pop_front() {
                // Under the lock, so that a signal finds the call in the queue or here.
                let begun = self.watchdog.begin(nth, &call);
                if !state.queue.is_empty() {
                    wake_one(state);
                } else {
                    drop(state);
                }
                let serve = || {
                    self.application.serve(py, call, begun);
                    drop(permit);
                };
                if catch_unwind(AssertUnwindSafe(serve)).is_err() {
                    tracing::error!("a call panicked");
                }
                self.watchdog.end(py, nth);
                state = self.lock();
                if interrupts && state.awake > 1 {
                    break;
                }
            }
            if state.closed {
                return;
            }
            interrupts = self.rest(py, state, nth, sleeper);
            state = self.lock();
        }
    }

    /// Sleeps until there is work. Returns whether attaching interrupted another thread.
    fn rest(&self, py: Python<'_>, mut state: MutexGuard<'_, QueueState<P>>, nth: usize, sleeper: &Sleeper) -> bool {
        state.awake -= 1;
        state.idle.push(Idle { nth, sleeper: sleeper.clone() });
        if state.queue.is_empty() {
            drop(state);
        } else {
            wake_one(state);
        }
        let woken = py.detach(|| {
            (self.before_sleep)();
            self.sleep(nth, sleeper);
            Instant::now()
        });
        let interrupts = woken.elapsed() >= INTERRUPTED;
        let mut state = self.lock();
        state.coming = false;
        state.awake += 1;
        interrupts
    }

    /// Sleeps until woken or closed.
    fn sleep(&self, nth: usize, sleeper: &Sleeper) {
        while self.lock().idle.iter().any(|idle| idle.nth == nth) {
            sleeper.sleep();
        }
    }

    /// Runs a WebSocket in a thread of its own, however long it is open. The watchdog does not know it.
    fn serve_websocket(self: &Arc<Self>, call: Call, permit: P) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return call.responder.fail(ending());
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(self);
        let serve = move |py: Python<'_>| {
            let serve = || {
                shared.application.serve(py, call, Instant::now());
                drop(permit);
            };
            if catch_unwind(AssertUnwindSafe(serve)).is_err() {
                tracing::error!("a call panicked");
            }
            py.detach(|| (shared.before_sleep)());
            shared.leave();
        };
        let not_started = |shared: &Self, error: &dyn std::fmt::Display| {
            tracing::error!("the thread of a WebSocket cannot be started: {error}");
            shared.leave();
        };
        let shared = Arc::clone(self);
        // Starting a thread of Python needs the interpreter, which this thread must not wait for.
        let started = thread::Builder::new().name("wsgi-websocket".to_owned()).spawn(move || {
            let started = try_attach(|py| app_thread::start(py, "wsgi-websocket", serve));
            match started {
                Some(Ok(())) => {}
                Some(Err(error)) => not_started(&shared, &error),
                None => not_started(&shared, &"the interpreter has ended"),
            }
        });
        if let Err(error) = started {
            not_started(self, &error);
        }
    }

    /// Lets the threads end, after the waiting calls or at once.
    fn close(&self, at_once: bool) {
        let mut state = self.lock();
        state.closed = true;
        let calls = if at_once { std::mem::take(&mut state.queue) } else { VecDeque::new() };
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        for (call, _permit) in calls {
            call.responder.fail(ending());
        }
        for idle in idle {
            idle.sleeper.wake();
        }
    }

    fn is_own(&self, thread: ThreadId) -> bool {
        self.own.iter().any(|own| own.get() == Some(&thread))
    }

    fn leave(&self) {
        self.lock().threads -= 1;
        self.ended.notify_all();
    }
}
