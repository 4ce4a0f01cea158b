//! The end of a process that the app has forked and that returns from the app: it is not the worker, and nobody waits for its response.

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;

use super::interpreter::{count_forks, forks};

/// The process that answers calls. Processes that it forks do not.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    /// How many forks lead to it. (Asking the system for the process id would cost each call two system calls.)
    forks: usize,
}

impl Owner {
    /// This process.
    pub(super) fn this(py: Python<'_>) -> PyResult<Self> {
        count_forks(py)?;
        Ok(Self { forks: forks() })
    }

    /// Ends this process if it is another one, as Python does at the end of a program: with the code of a `SystemExit`, with 1 after another exception,
    /// and otherwise with 0. Exit hooks run.
    pub(super) fn end_others(self, py: Python<'_>, error: Option<&PyErr>) {
        if self.forks == forks() {
            return;
        }
        let code = match error {
            Some(error) if error.is_instance_of::<PySystemExit>(py) => error.clone_ref(py),
            Some(error) => {
                error.print(py);
                PySystemExit::new_err(1)
            }
            None => PySystemExit::new_err(0),
        };
        // Python ends the process with it.
        code.print(py);
    }
}
