//! A program as a Python extension module: its command line (`main`), and stacks for other WSGI servers (`load`, `stack`).
//!
//! The interpreter runs already; it imports the module that [`python_module!`](crate::python_module) declares.

mod embedded;
mod error;
mod launcher;
mod per_process;
mod stack;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use http::Extensions;
#[doc(hidden)]
pub use pyo3;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyList, PyTuple};

use crate::Ziggurat;
use crate::pipeline::Registry;
use launcher::launcher;

/// Declares a Python extension module for a program, so that pip can install a crate with its own layers.
///
/// The first argument is the module's name. The module is part of a package, and by convention it is called `_native`. The second argument is the
/// function that returns the program:
///
/// ```
/// use ziggurat::Ziggurat;
///
/// pub fn program() -> Ziggurat {
///     Ziggurat::new()
/// }
///
/// ziggurat::python_module!(_native, program);
/// # fn main() {}
/// ```
///
/// The module contains:
///
/// - `main(arguments)`: runs a command line, the program's name first, and returns its exit code.
/// - `load(path, environ)` and `stack(app, layers, base)`: return a `Stack` with the program's layers, for other WSGI servers. `environ` and `base`
///   may be `None`. Mistakes raise `PipelineError`.
/// - `DeadlineExceeded` and `__version__`.
///
/// The package needs a `__main__` that calls `main(sys.argv)`, because workers run the package as `python -m PACKAGE` does.
#[macro_export]
macro_rules! python_module {
    ($name:ident, $program:path) => {
        #[$crate::extension::pyo3::pymodule]
        #[pyo3(crate = "::ziggurat::extension::pyo3")]
        fn $name(
            module: &$crate::extension::pyo3::Bound<'_, $crate::extension::pyo3::types::PyModule>,
        ) -> $crate::extension::pyo3::PyResult<()> {
            $crate::extension::extend(module, $program)
        }
    };
}

/// Fills the extension module that [`python_module!`](crate::python_module) declares.
#[doc(hidden)]
pub fn extend(module: &Bound<'_, PyModule>, program: fn() -> Ziggurat) -> PyResult<()> {
    let py = module.py();
    // `package._native`; `python -m` starts the package.
    let name: String = module.name()?.extract()?;
    let package: Arc<str> = name.rsplit_once('.').map_or(name.as_str(), |(package, _)| package).into();
    let of_main = Arc::clone(&package);
    let main = PyCFunction::new_closure(
        py,
        Some(c"main"),
        Some(c"Runs a command line, the program's name first, and returns its exit code."),
        move |tuple: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            let (arguments,): (Bound<'_, PyAny>,) = tuple.extract()?;
            run(program(), &of_main, &arguments)
        },
    )?;
    let of_load = Arc::clone(&package);
    let load = PyCFunction::new_closure(
        py,
        Some(c"load"),
        Some(c"Builds the stack of a pipeline file: its path, and the mapping in which `${NAME}` is looked up (None: `os.environ`)."),
        move |tuple: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            let (path, environ) = tuple.extract()?;
            stack::load(tuple.py(), &registry(tuple.py(), program(), &of_load)?, path, environ)
        },
    )?;
    let stack = PyCFunction::new_closure(
        py,
        Some(c"stack"),
        Some(c"Builds a stack: an app, a list of layers, and the folder where their relative paths start (None: the working folder)."),
        move |tuple: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            let (app, layers, base): (Bound<'_, PyAny>, Bound<'_, PyAny>, Option<PathBuf>) = tuple.extract()?;
            let registry = registry(tuple.py(), program(), &package)?;
            stack::stack(app, &registry, &layers, base)
        },
    )?;
    module.add("main", main)?;
    module.add("load", load)?;
    module.add("stack", stack)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<stack::Stack>()?;
    module.add("PipelineError", py.get_type::<error::PipelineError>())?;
    module.add("DeadlineExceeded", py.get_type::<crate::wsgi::DeadlineExceeded>())
}

/// The layers and apps of a program in a process that another server started.
fn registry(py: Python<'_>, program: Ziggurat, package: &str) -> PyResult<Registry> {
    let mut host = Extensions::new();
    host.insert(launcher(py, python(py)?, package)?);
    host.insert(crate::upstream::client());
    Ok(program.registry.hosted(host))
}

/// The path of the interpreter. Where `sys.executable` is another program (uWSGI, Apache), the one of the same installation.
fn python(py: Python<'_>) -> PyResult<PathBuf> {
    let sys = py.import("sys")?;
    let executable: Option<PathBuf> = sys.getattr("executable")?.extract()?;
    let is_python = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"python"));
    match executable.filter(is_python) {
        Some(executable) => Ok(executable),
        None => Ok(sys.getattr("prefix")?.extract::<PathBuf>()?.join("bin/python3")),
    }
}

/// The signals that the program handles.
const HANDLED: [&str; 5] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"];

/// Runs a command line of a program that this interpreter starts again.
fn run(mut program: Ziggurat, package: &str, arguments: &Bound<'_, PyAny>) -> PyResult<u8> {
    let py = arguments.py();
    let (sys, signal) = (py.import("sys")?, py.import("signal")?);
    let words: Vec<OsString> = arguments.extract()?;
    if sys.getattr("argv")?.is(arguments) {
        // The app is imported by this process or a child of it, and its own options are not these.
        arguments.cast::<PyList>()?.del_slice(1, words.len())?;
    }
    // The program drains at a signal. Handlers are chained, so those of Python, or of an agent that has hooked itself in, would end the process
    // in their own way after the drain. (Outside Python's main thread the call fails, and signals are not ours.)
    let mut handlers = Vec::new();
    for number in HANDLED {
        let number = signal.getattr(number)?;
        handlers.extend(signal.call_method1("signal", (&number, signal.getattr("SIG_DFL")?)).map(|handler| (number, handler)));
    }
    if let Some(executable) = sys.getattr("executable")?.extract::<Option<PathBuf>>()?.filter(|path| path.is_absolute()) {
        program = program.launched_by(launcher(py, executable, package)?);
    }
    // Other threads of this process may need the interpreter while the server runs.
    let code = py.detach(|| program.run(words));
    for (number, handler) in handlers.into_iter().filter(|(_, handler)| !handler.is_none()) {
        // A worker has handlers of its own until its exit hooks have run.
        if signal.call_method1("getsignal", (&number,))?.eq(signal.getattr("SIG_DFL")?)? {
            signal.call_method1("signal", (number, handler))?;
        }
    }
    Ok(code)
}
