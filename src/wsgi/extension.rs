//! A program as a Python extension: the same command line, started by an interpreter that is already there.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use http::Extensions;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use super::embed;
use crate::Ziggurat;
use crate::pipeline::Registry;
use crate::worker::launch::Launch;

/// Makes a Python extension module of a program: with it, a crate with layers of its own can be installed by pip.
///
/// The first word is the module's name, which has to stand in a package and is by custom `_native`; the second is the function that makes the
/// program:
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
/// The module has `main(arguments)`, which runs a command line (the program's name first) and gives its exit code; `load(path, environ)` and
/// `stack(app, layers, base)`, which give stacks with the program's layers to other WSGI servers (what may be left out is `None`), with their
/// `Stack` and `PipelineError`; `DeadlineExceeded` and `__version__`. The package around it needs a `__main__` that calls `main(sys.argv)`: workers are
/// started as `python -m PACKAGE`.
#[macro_export]
macro_rules! python_module {
    ($name:ident, $program:path) => {
        #[$crate::wsgi::pyo3::pymodule]
        #[pyo3(crate = "::ziggurat::wsgi::pyo3")]
        fn $name(module: &$crate::wsgi::pyo3::Bound<'_, $crate::wsgi::pyo3::types::PyModule>) -> $crate::wsgi::pyo3::PyResult<()> {
            $crate::wsgi::extend(module, $program)
        }
    };
}

/// Fills the extension module that [`python_module!`](crate::python_module) declares.
#[doc(hidden)]
pub fn extend(module: &Bound<'_, PyModule>, program: fn() -> Ziggurat) -> PyResult<()> {
    let py = module.py();
    // The name by which it is imported, `package._native`, is known now at the latest: the package is what `python -m` starts.
    let name: String = module.name()?.extract()?;
    let package: Arc<str> = name.rsplit_once('.').map_or(name.as_str(), |(package, _)| package).into();
    let of_main = Arc::clone(&package);
    let main = PyCFunction::new_closure(
        py,
        Some(c"main"),
        Some(c"Runs a command line, the program's name first, and gives its exit code."),
        move |tuple: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            let (arguments,) = tuple.extract()?;
            run(tuple.py(), program(), &of_main, arguments)
        },
    )?;
    let of_load = Arc::clone(&package);
    let load = PyCFunction::new_closure(
        py,
        Some(c"load"),
        Some(c"The stack of a pipeline file, given its path and where `${NAME}` is looked up (`os.environ`, if that is None)."),
        move |tuple: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            let (path, environ) = tuple.extract()?;
            embed::load(tuple.py(), &registry(tuple.py(), program(), &of_load)?, path, environ)
        },
    )?;
    let stack = PyCFunction::new_closure(
        py,
        Some(c"stack"),
        Some(c"A WSGI app under a list of layers, whose relative paths start at a folder (the working folder, if that is None)."),
        move |tuple: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            let (app, layers, base): (Bound<'_, PyAny>, Bound<'_, PyAny>, Option<PathBuf>) = tuple.extract()?;
            let registry = registry(tuple.py(), program(), &package)?;
            embed::stack(app, &registry, &layers, base)
        },
    )?;
    module.add("main", main)?;
    module.add("load", load)?;
    module.add("stack", stack)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<embed::Stack>()?;
    module.add("PipelineError", py.get_type::<embed::PipelineError>())?;
    module.add("DeadlineExceeded", py.get_type::<super::warden::DeadlineExceeded>())
}

/// The layers and apps of a program inside a process that something else started.
fn registry(py: Python<'_>, program: Ziggurat, package: &str) -> PyResult<Registry> {
    let mut host = Extensions::new();
    host.insert(Launch::new(python(py)?, ["-P", "-m", package]));
    Ok(program.registry.hosted(host))
}

/// The interpreter. Where it is part of another program (uWSGI, Apache), that one is no Python, but its installation has one.
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
    // SIGINT is the server's to drain at. Handlers are chained, so Python's would raise KeyboardInterrupt after the drain. (Where this is not
    // Python's main thread, SIGINT is not ours either.)
    let handler = signal.call_method1("signal", (&interrupt, signal.getattr("SIG_DFL")?)).ok();
    // A worker is this interpreter with this module, and not one that happens to lie in the working folder.
    if let Some(executable) = py.import("sys")?.getattr("executable")?.extract::<Option<PathBuf>>()?.filter(|path| path.is_absolute()) {
        program = program.launched_by(Launch::new(executable, ["-P", "-m", package]));
    }
    // The interpreter is let go: other threads of this process may want it while we serve.
    let code = py.detach(|| program.run(arguments));
    if let Some(handler) = handler {
        signal.call_method1("signal", (interrupt, handler))?;
    }
    Ok(code)
}
