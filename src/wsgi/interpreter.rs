//! The Python interpreter of this process: its start, the states of its threads, and its end.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyCFunction, PyDict, PyTuple};
use ziggurat_middleware::Finding;

/// There is one interpreter per process, and so is its state.
static STARTING: Mutex<()> = Mutex::new(());
static EMBEDDED: AtomicBool = AtomicBool::new(false);
static BUSY: Mutex<Busy> = Mutex::new(Busy { threads: 0, is_over: false });
static LESS_BUSY: Condvar = Condvar::new();
/// How many forks lead from the process that began to count to this one, and whether Python tells.
static FORKS: AtomicUsize = AtomicUsize::new(0);
static COUNTING: AtomicBool = AtomicBool::new(false);
/// The state of the thread that started Python, which is Python's main thread.
static MAIN: AtomicPtr<ffi::PyThreadState> = AtomicPtr::new(ptr::null_mut());

/// How long the shutdown waits for the app's own threads and exit hooks, and for threads that are about to detach.
const FINALIZE_TIMEOUT: Duration = Duration::from_secs(3);
const LEAVING: Duration = Duration::from_secs(1);

/// Starts Python in this process, in the virtual environment of `VIRTUAL_ENV`. Does nothing where Python already runs (in the extension module, or
/// after an earlier call).
///
/// Python installs no signal handlers: signals are the program's.
///
/// # Errors
///
/// A [`Finding`] if the virtual environment is not valid or of another Python version, or if Python does not start.
pub fn initialize() -> Result<(), Finding> {
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: may be called at any time.
    if unsafe { ffi::Py_IsInitialized() } != 0 {
        return Ok(());
    }
    let executable = match std::env::var_os("VIRTUAL_ENV").filter(|folder| !folder.is_empty()) {
        Some(folder) => Some(executable_of(Path::new(&folder))?),
        None => None,
    };
    start(executable.as_deref()).map_err(|reason| Finding::new(format!("python does not start: {reason}")))?;
    EMBEDDED.store(true, Ordering::Release);
    Ok(())
}

/// Shuts down the Python that [`initialize`] started: runs exit hooks and flushes standard streams. Waits a few seconds at most for threads of the
/// app.
///
/// A Python that ran before is left as it is. Call this when no stack holds a WSGI app any more; afterwards this process uses no Python.
pub fn finalize() {
    if !EMBEDDED.swap(false, Ordering::AcqRel) {
        // The owner of this interpreter shuts it down, and then our threads have to be gone.
        all_left();
        return;
    }
    let (sender, ended) = mpsc::channel();
    // In a thread, because the shutdown waits for non-daemon threads of the app, however long they take.
    let ending = std::thread::Builder::new().name("python-end".to_owned()).spawn(move || {
        if all_left_for_good() {
            // SAFETY: Python runs, this thread has no thread state yet, and no thread attaches any more, so the main thread's state is not in use. It
            // is deleted first, or Python would wait for its main thread.
            unsafe {
                ffi::PyGILState_Ensure();
                let main = MAIN.swap(ptr::null_mut(), Ordering::AcqRel);
                ffi::PyThreadState_Clear(main);
                ffi::PyThreadState_Delete(main);
                ffi::Py_FinalizeEx();
            }
        } else {
            // A thread inside the app would use an interpreter that is gone.
            run_exit_hooks();
        }
        let _ = sender.send(());
    });
    if ending.is_ok() && ended.recv_timeout(FINALIZE_TIMEOUT).is_err() {
        tracing::warn!("threads of the app do not end and are left behind");
        run_exit_hooks();
    }
}

/// As [`finalize`], for a process that does nothing else afterwards, on Python's main thread: exit hooks run there, as in any Python process. If threads
/// of the app do not end in time, the process exits without them.
pub(super) fn finalize_process() {
    let main = MAIN.load(Ordering::Acquire);
    if main.is_null() || !EMBEDDED.load(Ordering::Acquire) || !all_left_for_good() {
        return finalize();
    }
    EMBEDDED.store(false, Ordering::Release);
    let (finalizing, ended) = mpsc::channel::<()>();
    let watching = std::thread::Builder::new().name("python-end".to_owned()).spawn(move || {
        if ended.recv_timeout(FINALIZE_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("threads of the app do not end and are left behind");
            run_exit_hooks();
            Python::try_attach(|py| py.import("os")?.call_method1("_exit", (0,)).map(drop));
        }
    });
    if watching.is_err() {
        return run_exit_hooks();
    }
    MAIN.store(ptr::null_mut(), Ordering::Release);
    // SAFETY: Python runs, this thread has started it and detached from `main`, and no other thread of ours uses Python any more.
    unsafe {
        ffi::PyEval_RestoreThread(main);
        ffi::Py_FinalizeEx();
    }
    drop(finalizing);
}

/// Has Python count forks from now on, for [`forks`].
pub(super) fn count_forks(py: Python<'_>) -> PyResult<()> {
    if COUNTING.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let count = |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| _ = FORKS.fetch_add(1, Ordering::Relaxed);
    let hook = PyCFunction::new_closure(py, None, None, count)?;
    let options = [("after_in_child", hook)].into_py_dict(py)?;
    let registered = py.import("os")?.call_method("register_at_fork", (), Some(&options));
    if registered.is_err() {
        COUNTING.store(false, Ordering::Release);
    }
    registered.map(drop)
}

/// A number that only forks change, in the forked process. Forks in C code that do not tell Python are not counted.
pub(super) fn forks() -> usize {
    FORKS.load(Ordering::Relaxed)
}

fn run_exit_hooks() {
    Python::try_attach(|py| {
        let hooks = py.import("atexit").and_then(|atexit| atexit.call_method0("_run_exitfuncs"));
        let flushed = ["stdout", "stderr"].map(|stream| py.import("sys")?.getattr(stream)?.call_method0("flush"));
        // There is nobody to report a failure to.
        drop((hooks, flushed));
    });
}

/// The threads that may use Python.
struct Busy {
    threads: usize,
    /// The interpreter is being shut down. A thread that waits for it now would be ended by Python in the midst of a function.
    is_over: bool,
}

/// Marks a thread that may use Python. The interpreter is not shut down as long as one exists.
pub(super) struct PythonThread(());

impl PythonThread {
    /// Marks this thread, or one that it starts. `None` if the interpreter is being shut down.
    pub(super) fn mark() -> Option<Self> {
        let mut busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.is_over {
            return None;
        }
        busy.threads += 1;
        Some(Self(()))
    }
}

impl Drop for PythonThread {
    fn drop(&mut self) {
        BUSY.lock().unwrap_or_else(PoisonError::into_inner).threads -= 1;
        LESS_BUSY.notify_all();
    }
}

/// Runs `work` attached, or not at all if the interpreter has ended or is being shut down.
pub(super) fn try_attach<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _busy = PythonThread::mark()?;
    Python::try_attach(work)
}

/// Waits for a short time until no thread uses Python. Returns whether that is so.
fn all_left() -> bool {
    wait_until_left().threads == 0
}

/// As [`all_left`]. If it returns `true`, no thread will use Python any more.
fn all_left_for_good() -> bool {
    let mut busy = wait_until_left();
    busy.is_over = busy.threads == 0;
    busy.is_over
}

fn wait_until_left() -> MutexGuard<'static, Busy> {
    let busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    LESS_BUSY.wait_timeout_while(busy, LEAVING, |busy| busy.threads > 0).unwrap_or_else(PoisonError::into_inner).0
}

/// The interpreter of a virtual environment, which has to be of the Python version that this program is linked to.
fn executable_of(folder: &Path) -> Result<PathBuf, Finding> {
    let shown = folder.display();
    let text = std::fs::read_to_string(folder.join("pyvenv.cfg")).map_err(|error| {
        Finding::new(format!("`VIRTUAL_ENV` names `{shown}`, which is no virtual environment: `pyvenv.cfg` cannot be read: {error}"))
            .hint("make one with `python3 -m venv`, or unset `VIRTUAL_ENV`")
    })?;
    let linked = linked_version();
    if let Some(version) = version_in(&text)
        && minor(version) != minor(&linked)
    {
        let (version, linked) = (minor(version), minor(&linked));
        return Err(Finding::new(format!(
            "the virtual environment `{shown}` is for Python {version}; this program is linked to Python {linked}"
        ))
        .hint(format!("make a new one with `python{linked} -m venv`, or build the program with Python {version}")));
    }
    Ok(folder.join("bin/python"))
}

/// `version` (venv) or `version_info` (virtualenv, uv) in a `pyvenv.cfg`.
fn version_in(config: &str) -> Option<&str> {
    config
        .lines()
        .filter_map(|line| line.split_once('='))
        .find_map(|(key, value)| matches!(key.trim(), "version" | "version_info").then_some(value.trim()))
}

fn minor(version: &str) -> &str {
    version.match_indices('.').nth(1).map_or(version, |(at, _)| &version[..at])
}

fn linked_version() -> String {
    // SAFETY: may be called before Python starts; returns a static string.
    let text = unsafe { CStr::from_ptr(ffi::Py_GetVersion()) };
    text.to_string_lossy().split_whitespace().next().unwrap_or_default().to_owned()
}

/// Starts Python and detaches.
fn start(executable: Option<&Path>) -> Result<(), String> {
    // SAFETY: all zeroes is a valid value of this struct of integers and pointers, which the next call fills in.
    let mut config: ffi::PyConfig = unsafe { std::mem::zeroed() };
    // SAFETY: `config` outlives the calls, is initialized first and cleared last; the strings end in NUL and are copied; Python does not run yet, as
    // `initialize` checked under its lock.
    unsafe {
        ffi::PyConfig_InitPythonConfig(&raw mut config);
        let started = configure(&raw mut config, executable).and_then(|()| checked(ffi::Py_InitializeFromConfig(&raw const config)));
        ffi::PyConfig_Clear(&raw mut config);
        started?;
    }
    let settled = Python::attach(settle);
    // SAFETY: this thread has been attached since it started the interpreter.
    MAIN.store(unsafe { ffi::PyEval_SaveThread() }, Ordering::Release);
    settled.map_err(|error| error.to_string())
}

/// Makes this thread the main thread of `threading`, too; releases SIGINT, which importing `signal` catches although Python was told not to; and
/// makes standard output line-buffered even if it is a pipe.
fn settle(py: Python<'_>) -> PyResult<()> {
    py.import("threading")?;
    let signal = py.import("signal")?;
    let interrupt = signal.getattr("SIGINT")?;
    if signal.call_method1("getsignal", (&interrupt,))?.is(signal.getattr("default_int_handler")?) {
        signal.call_method1("signal", (&interrupt, signal.getattr("SIG_DFL")?))?;
    }
    if let Some(reconfigure) = py.import("sys")?.getattr("stdout")?.getattr_opt("reconfigure")? {
        reconfigure.call((), Some(&[("line_buffering", true)].into_py_dict(py)?))?;
    }
    Ok(())
}

/// # Safety
///
/// `config` must be set up by `PyConfig_InitPythonConfig`.
unsafe fn configure(config: *mut ffi::PyConfig, executable: Option<&Path>) -> Result<(), String> {
    let program = CString::new(std::env::args_os().next().unwrap_or_default().into_vec()).unwrap_or_default();
    let arguments = [program.as_ptr()];
    // SAFETY: as the caller promises; the strings live until the end of this function.
    unsafe {
        (*config).install_signal_handlers = 0;
        (*config).parse_argv = 0;
        checked(ffi::PyConfig_SetBytesArgv(config, 1, arguments.as_ptr().cast_mut()))?;
        if let Some(executable) = executable {
            let executable = OsStr::as_bytes(executable.as_os_str());
            let executable = CString::new(executable).map_err(|_| "the path of its virtual environment holds a NUL".to_owned())?;
            checked(ffi::PyConfig_SetBytesString(config, &raw mut (*config).executable, executable.as_ptr()))?;
        }
    }
    Ok(())
}

fn checked(status: ffi::PyStatus) -> Result<(), String> {
    // SAFETY: reads the value only.
    if unsafe { ffi::PyStatus_Exception(status) } == 0 {
        return Ok(());
    }
    if status.err_msg.is_null() {
        return Err("no reason given".to_owned());
    }
    // SAFETY: Python's messages are static strings.
    Err(unsafe { CStr::from_ptr(status.err_msg) }.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_virtual_environment_is_read_in_both_spellings() {
        assert_eq!(version_in("home = /usr/bin\nversion = 3.11.7\n").map(minor), Some("3.11"));
        assert_eq!(version_in("home = /usr/bin\nversion_info = 3.12.1.final.0\n").map(minor), Some("3.12"));
        assert_eq!(version_in("home = /usr/bin\n"), None);
    }
}
