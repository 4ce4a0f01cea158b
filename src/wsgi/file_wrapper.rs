//! `wsgi.file_wrapper` (PEP 3333 section "Optional Platform-Specific File Handling").

use std::fs::File;
use std::ops::Range;
use std::os::fd::{BorrowedFd, RawFd};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Wraps an open file for an app to return. A regular file is sent without the app; any other object with `read` is read block by block.
#[pyclass(module = "ziggurat", frozen)]
pub(super) struct FileWrapper {
    #[pyo3(get)]
    filelike: Py<PyAny>,
    #[pyo3(get)]
    blksize: isize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize=65536))]
    const fn new(filelike: Py<PyAny>, blksize: isize) -> Self {
        Self { filelike, blksize }
    }

    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.filelike.bind(py).call_method1("read", (self.blksize,))?;
        // Whatever is not bytes is passed on and refused with the name of its type.
        let ended = block.cast::<PyBytes>().map_or_else(|_| !block.is_truthy().unwrap_or(true), |block| block.as_bytes().is_empty());
        Ok((!ended).then_some(block))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let file = self.filelike.bind(py);
        if file.hasattr("close")? {
            file.call_method0("close")?;
        }
        Ok(())
    }
}

impl FileWrapper {
    /// The rest of a regular file, if its octets are exactly what `read` would return.
    pub(super) fn rest(&self, py: Python<'_>) -> PyResult<Option<(File, Range<u64>)>> {
        let io = py.import("io")?;
        let (plain, reader, random) = (io.getattr("FileIO")?, io.getattr("BufferedReader")?, io.getattr("BufferedRandom")?);
        let mut file = self.filelike.bind(py).clone();
        if file.get_type().getattr("__module__")?.eq("tempfile")? {
            file = file.getattr("file")?;
        }
        // `fileno` is not enough: the file of a decompressor has one, too.
        let kind = file.get_type();
        let raw = if kind.is(&reader) || kind.is(&random) { file.getattr("raw")? } else { file.clone() };
        if !raw.get_type().is(&plain) || !raw.call_method0("readable")?.is_truthy()? {
            return Ok(None);
        }
        if kind.is(&random) {
            file.call_method0("flush")?;
        }
        let Ok(offset) = file.call_method0("tell").and_then(|at| at.extract::<u64>()) else { return Ok(None) };
        let descriptor: RawFd = raw.call_method0("fileno")?.extract()?;
        // SAFETY: `raw` is an open FileIO that we hold. It keeps its descriptor open as long as this thread does not detach.
        #[allow(unsafe_code)]
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        // The app may close its own descriptor.
        let file = File::from(descriptor.try_clone_to_owned()?);
        let stat = file.metadata()?;
        // A file of length 0 may hold something, as those of `/proc` do: Python reads it to its end.
        Ok((stat.is_file() && stat.len() > 0).then(|| (file, offset..stat.len().max(offset))))
    }
}
