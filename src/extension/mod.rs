//! A program as a Python extension module: its command line (`main`), and stacks for other WSGI servers (`load`, `stack`).
//!
//! The interpreter runs already; it imports the module that [`python_module!`](crate::python_module) declares.

mod embedded;
mod error;
mod per_process;
mod stack;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use http::Extensions;
#[doc(hidden)]
pub use pyo3;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::Ziggurat;
use crate::pipeline::Registry;
use crate::worker::launcher::Launcher;

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
/// The package needs a `__main__` that calls `main(sys.argv)`, because workers are started as `python -m PACKAGE`.
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
            let (arguments,) = tuple.extract()?;
            run(tuple.py(), program(), &of_main, arguments)
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
    host.insert(Launcher::new(python(py)?, ["-P", "-m", package]));
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

/// Runs a command line of a program that `python -m package` starts again.
fn run(py: Python<'_>, mut program: Ziggurat, package: &str, arguments: Vec<OsString>) -> PyResult<u8> {
    let signal = py.import("signal")?;
    let interrupt = signal.getattr("SIGINT")?;
    // The server drains at SIGINT. Handlers are chained, so Python's would raise KeyboardInterrupt after the drain. (Outside Python's main
    // thread the call fails, and SIGINT is not ours.)
    let handler = signal.call_method1("signal", (&interrupt, signal.getattr("SIG_DFL")?)).ok();
    // Workers run this interpreter; `-P` keeps the working folder out of `sys.path`, where another module may have the same name.
    if let Some(executable) = py.import("sys")?.getattr("executable")?.extract::<Option<PathBuf>>()?.filter(|path| path.is_absolute()) {
        program = program.launched_by(Launcher::new(executable, ["-P", "-m", package]));
    }
    // Other threads of this process may need the interpreter while the server runs.
    let code = py.detach(|| program.run(arguments));
    if let Some(handler) = handler {
        signal.call_method1("signal", (interrupt, handler))?;
    }
    Ok(code)
}
