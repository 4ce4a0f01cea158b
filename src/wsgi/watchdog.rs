//! Watches the threads of a pool: logs their stacks, and ends requests that are over their deadline.
//!
//! It attaches in its own threads, so no thread that serves requests waits for the interpreter because of it.

use std::ffi::{c_long, c_ulong};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::{create_exception, ffi};

use super::errors::LogContext;
use super::interpreter::try_attach;
use crate::call::Call;
use crate::call::head::Head;

create_exception!(
    ziggurat,
    DeadlineExceeded,
    PyBaseException,
    "Raised in the middle of an app whose request is over its deadline. No `Exception`, so that the app does not take it for an error of its own."
);

/// After so long without the interpreter, C code must be holding it.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the app may take to end after the exception was raised.
const GRACE: Duration = Duration::from_secs(2);

/// The calls of each thread of a pool.
pub(super) struct Watchdog {
    place: Arc<str>,
    slots: Box<[ThreadSlot]>,
    /// Logs all stacks if the interpreter is not available.
    dump: fn(),
}

/// A thread and its call.
#[derive(Default)]
struct ThreadSlot {
    /// Python's identifier of the thread.
    ident: AtomicU64,
    serving: Mutex<Option<RunningCall>>,
}

struct RunningCall {
    number: u64,
    head: Head,
    since: Instant,
    /// The exception was raised in the thread; the app may not have seen it yet.
    is_interrupted: bool,
}

impl Watchdog {
    /// For `threads` threads of the app at `place`.
    pub(super) fn new(place: Arc<str>, threads: usize, dump: fn()) -> Arc<Self> {
        Arc::new(Self { place, slots: (0..threads).map(|_| ThreadSlot::default()).collect(), dump })
    }

    /// Registers this thread as the `nth` of the pool.
    pub(super) fn enlist(&self, nth: usize) {
        // SAFETY: may be called by any thread at any time.
        let ident = unsafe { ffi::PyThread_get_thread_ident() };
        self.slots[nth].ident.store(widened(ident), Ordering::Relaxed);
    }

    /// Notes that the `nth` thread begins a call, and returns when.
    pub(super) fn begin(&self, nth: usize, call: &Call) -> Instant {
        let since = Instant::now();
        let serving = RunningCall { number: call.number, head: call.head.clone(), since, is_interrupted: false };
        *self.slots[nth].lock() = Some(serving);
        since
    }

    /// Notes that the `nth` thread, which is this one, is done with its call. Nothing is raised for that call any more.
    pub(super) fn end(&self, _: Python<'_>, nth: usize) {
        let slot = &self.slots[nth];
        let served = slot.lock().take();
        if served.is_some_and(|served| served.is_interrupted) {
            // Clears an exception that was raised under the slot's lock and is not delivered yet.
            slot.set_exception(ptr::null_mut());
        }
    }

    /// Whether a thread runs this call.
    pub(super) fn is_serving(&self, number: u64) -> bool {
        self.slot_of(number).is_some()
    }

    /// Logs the stack of a call's thread.
    pub(super) fn trace(self: &Arc<Self>, number: u64) {
        self.apart(number, move |watchdog| {
            let shown = watchdog.with_python(move |watchdog, py| watchdog.show(py, number, "the request is slow"));
            if shown.is_none() {
                watchdog.log_held(number);
            }
        });
    }

    /// Logs the stack of a call's thread, and raises [`DeadlineExceeded`] in it.
    pub(super) fn expire(self: &Arc<Self>, number: u64) {
        self.apart(number, move |watchdog| {
            let raised = watchdog.with_python(move |watchdog, py| {
                watchdog.show(py, number, "the request is over its deadline and is ended");
                watchdog.raise(py, number);
            });
            if raised.is_none() {
                watchdog.log_held(number);
            }
            thread::sleep(GRACE);
            watchdog.about(number, |context, since| {
                let time = since.elapsed();
                tracing::error!(
                    request_id = context.request_id(),
                    request = context.request(),
                    app = &*context.place,
                    "the request does not end, {time:.1?} after it began: its thread is lost to the app until it does"
                );
            });
        });
    }

    /// Logs the stacks of all threads.
    pub(super) fn stacks(self: &Arc<Self>) {
        let watchdog = Arc::clone(self);
        spawned(move || {
            let shown = watchdog.with_python(|watchdog, py| {
                for nth in 0..watchdog.slots.len() {
                    watchdog.show_thread(py, nth);
                }
            });
            if shown.is_none() {
                tracing::error!(app = &*watchdog.place, "C code holds the interpreter: Python stacks are not available");
                (watchdog.dump)();
            }
        });
    }

    /// Runs `work` about a call in a new thread, unless the call is over.
    fn apart(self: &Arc<Self>, number: u64, work: impl FnOnce(&Arc<Self>) + Send + 'static) {
        if self.slot_of(number).is_some() {
            let watchdog = Arc::clone(self);
            spawned(move || work(&watchdog));
        }
    }

    /// Runs `work` attached, in one more thread. Returns `None` if it has to wait for long; it then runs later.
    fn with_python(self: &Arc<Self>, work: impl FnOnce(&Self, Python<'_>) + Send + 'static) -> Option<()> {
        let (sender, done) = mpsc::channel();
        let watchdog = Arc::clone(self);
        spawned(move || {
            try_attach(|py| work(&watchdog, py));
            // The receiver may have timed out.
            let _ = sender.send(());
        });
        done.recv_timeout(ATTACH_TIMEOUT).ok()
    }

    fn slot_of(&self, number: u64) -> Option<&ThreadSlot> {
        self.slots.iter().find(|slot| slot.lock().as_ref().is_some_and(|serving| serving.number == number))
    }

    /// Runs `then` about a call, unless the call is over.
    fn about<T>(&self, number: u64, then: impl FnOnce(&LogContext, Instant) -> T) -> Option<T> {
        let slot = self.slot_of(number)?;
        let (head, since) = slot.lock().as_ref().map(|serving| (serving.head.clone(), serving.since))?;
        Some(then(&self.context(&head), since))
    }

    fn context(&self, head: &Head) -> LogContext {
        LogContext { place: Arc::clone(&self.place), head: Some(head.clone()) }
    }

    fn log_held(&self, number: u64) {
        self.about(number, |context, since| {
            let time = since.elapsed();
            tracing::error!(
                request_id = context.request_id(),
                request = context.request(),
                app = &*context.place,
                "the request has taken {time:.1?}, and C code holds the interpreter"
            );
            (self.dump)();
        });
    }

    /// Logs the stack of a call's thread, unless the call is over.
    fn show(&self, py: Python<'_>, number: u64, what: &str) {
        let Some(stack) = self.slot_of(number).map(|slot| slot.stack(py)) else { return };
        self.about(number, |context, since| {
            let time = since.elapsed();
            let (request_id, request) = (context.request_id(), context.request());
            tracing::warn!(request_id, request, app = &*context.place, "{what}, {time:.1?} after it began\n{stack}");
        });
    }

    /// Logs the stack of a thread.
    fn show_thread(&self, py: Python<'_>, nth: usize) {
        let slot = &self.slots[nth];
        let serving = slot.lock().as_ref().map(|serving| (serving.head.clone(), serving.since));
        let Some((head, since)) = serving else {
            tracing::warn!(app = &*self.place, "thread {nth} is idle");
            return;
        };
        let (context, time, stack) = (self.context(&head), since.elapsed(), slot.stack(py));
        let (request_id, request) = (context.request_id(), context.request());
        tracing::warn!(request_id, request, app = &*context.place, "thread {nth} has served a request for {time:.1?}\n{stack}");
    }

    /// Raises the exception in the thread of a call, unless the call is over.
    fn raise(&self, py: Python<'_>, number: u64) {
        let Some(slot) = self.slot_of(number) else { return };
        // Before the lock: making the type may detach, and the thread that attaches then may wait for the slot.
        let exception = py.get_type::<DeadlineExceeded>();
        // Held for both, so that the call cannot end between them.
        let mut serving = slot.lock();
        if let Some(serving) = serving.as_mut().filter(|serving| serving.number == number) {
            serving.is_interrupted = true;
            slot.set_exception(exception.as_ptr());
        }
    }
}

impl ThreadSlot {
    fn lock(&self) -> MutexGuard<'_, Option<RunningCall>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Raises an exception of this type in the thread when it next runs Python code; null clears one that is not delivered.
    fn set_exception(&self, exception: *mut ffi::PyObject) {
        let ident = self.ident.load(Ordering::Relaxed);
        // SAFETY: callers are attached; the exception's type, if there is one, is borrowed from Python's own reference.
        unsafe { ffi::PyThreadState_SetAsyncExc(ident as c_long, exception) };
    }

    /// The thread's stack as Python prints it.
    fn stack(&self, py: Python<'_>) -> String {
        let formatted = || -> PyResult<String> {
            let frames = py.import("sys")?.call_method0("_current_frames")?;
            let frame = frames.get_item(self.ident.load(Ordering::Relaxed))?;
            let lines = py.import("traceback")?.call_method1("format_stack", (frame,))?;
            lines.try_iter()?.map(|line| line?.extract::<String>()).collect()
        };
        formatted().map_or_else(|_| "  (no Python code)".to_owned(), |stack| stack.trim_end().to_owned())
    }
}

fn spawned(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name("watchdog".to_owned()).spawn(work) {
        tracing::error!("the watchdog cannot start a thread: {error}");
    }
}

#[allow(clippy::useless_conversion)] // `c_ulong` has 32 bits elsewhere.
fn widened(ident: c_ulong) -> u64 {
    ident.into()
}
