//! Sends what the app returned.

use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::errors::LogContext;
use super::file_wrapper::FileWrapper;
use super::response_head::type_name;
use super::response_writer::Written;
use super::start_response::{COPIED, Chunk, StartResponse, chunk, send};

/// Why the response is not complete.
pub(super) enum AppError {
    /// The app raised an exception.
    Raised(PyErr),
    /// The app broke a rule of PEP 3333.
    Refused(String),
}

impl AppError {
    /// The exception, if it is one.
    pub(super) const fn raised(&self) -> Option<&PyErr> {
        match self {
            Self::Raised(error) => Some(error),
            Self::Refused(_) => None,
        }
    }
}

impl From<PyErr> for AppError {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

/// The iterable that the app returned.
pub(super) enum AppIterable {
    /// Not looked at yet.
    Returned(Py<PyAny>),
    /// It yields chunks.
    Coming { iterable: Py<PyAny>, iterator: Py<PyIterator> },
    /// It is exhausted.
    Sent,
}

impl AppIterable {
    /// Sends what needs no second call of the app: everything, or one chunk. Returns whether there may be more.
    pub(super) fn step(&mut self, py: Python<'_>, start: &Bound<'_, StartResponse>, context: &LogContext) -> Result<bool, AppError> {
        match self {
            Self::Sent => Ok(false),
            Self::Returned(iterable) => {
                let iterable = iterable.clone_ref(py);
                *self = Self::Sent;
                let Some(iterator) = begin(iterable.bind(py), start, context)?.map(Bound::unbind) else { return Ok(false) };
                *self = Self::Coming { iterable, iterator };
                Ok(true)
            }
            Self::Coming { iterable, iterator } => send_next(iterable.bind(py), iterator.bind(py), start, context),
        }
    }
}

/// Sends a complete response, or returns the iterator of any other.
fn begin<'py>(
    iterable: &Bound<'py, PyAny>,
    start: &Bound<'py, StartResponse>,
    context: &LogContext,
) -> Result<Option<Bound<'py, PyIterator>>, AppError> {
    let py = iterable.py();
    if let Ok(list) = iterable.cast_exact::<PyList>() {
        let sent = match list.len() {
            1 => send_only(&list.get_item(0)?, iterable, start, context),
            _ => send_list(py, &list.to_tuple(), start, context),
        };
        return sent.map(|()| None);
    }
    if let Ok(tuple) = iterable.cast_exact::<PyTuple>() {
        return send_list(py, tuple, start, context).map(|()| None);
    }
    let wrapper = iterable.cast_exact::<FileWrapper>();
    // Reading a file has no effects.
    if wrapper.is_ok() && borrowed(start)?.writer.is_bodiless() {
        return Ok(None);
    }
    if let Ok(wrapper) = wrapper
        && borrowed(start)?.writer.awaits_body()
        // If the file cannot be inspected, it is read, and raises there.
        && let Ok(Some((file, part))) = wrapper.get().rest(py)
    {
        let mut start = borrowed(start)?;
        let writer = &mut start.writer;
        py.detach(|| writer.file(file, part));
        return Ok(None);
    }
    let iterator = iterable.try_iter();
    if iterator.is_err() && !is_iterable(iterable) {
        return Err(AppError::Refused(format!("the app returned `{}`, which is no iterable of bytes", type_name(iterable))));
    }
    Ok(Some(iterator?))
}

/// Whether an object claims to be iterable; its `__iter__` may raise an exception nevertheless.
fn is_iterable(object: &Bound<'_, PyAny>) -> bool {
    ["__iter__", "__getitem__"].into_iter().any(|method| object.get_type().hasattr(method).unwrap_or(true))
}

/// Sends the next chunk. Returns whether there may be another.
fn send_next<'py>(
    iterable: &Bound<'py, PyAny>,
    iterator: &Bound<'py, PyIterator>,
    start: &Bound<'py, StartResponse>,
    context: &LogContext,
) -> Result<bool, AppError> {
    let Some(item) = iterator.clone().next() else { return Ok(false) };
    let item = item?;
    let octets = chunk(&item).map_err(|name| wrong_item(iterable, &name))?;
    let length = octets.as_ref().len();
    if length == 0 || put(iterator.py(), octets, start, context)? {
        return Ok(true);
    }
    // Without a body, as for HEAD, the rest is read nevertheless: a generator may have effects.
    Ok(borrowed(start)?.writer.drops(length))
}

/// Sends the only chunk of a list, as [`send_list`] does.
fn send_only(
    item: &Bound<'_, PyAny>,
    list: &Bound<'_, PyAny>,
    start: &Bound<'_, StartResponse>,
    context: &LogContext,
) -> Result<(), AppError> {
    let octets = chunk(item).map_err(|name| wrong_item(list, &name))?;
    declare(octets.as_ref().len(), start)?;
    put(list.py(), octets, start, context)?;
    Ok(())
}

/// Declares the length of a list, which has no `close()`.
fn declare(total: usize, start: &Bound<'_, StartResponse>) -> Result<(), AppError> {
    let mut start = borrowed(start)?;
    start.writer.declare(total);
    start.writer.set_last();
    Ok(())
}

/// Sends the chunks of a list. Their total is the length of the response, unless the app declared one.
fn send_list(py: Python<'_>, items: &Bound<'_, PyTuple>, start: &Bound<'_, StartResponse>, context: &LogContext) -> Result<(), AppError> {
    let chunks = items.iter().map(|item| item.cast_into::<PyBytes>().map_err(|error| wrong_item(items, &type_name(&error.into_inner()))));
    let chunks = chunks.collect::<Result<Vec<_>, AppError>>()?;
    let total = chunks.iter().map(|chunk| chunk.as_bytes().len()).sum();
    declare(total, start)?;
    // Small chunks are joined.
    let mut gathered = BytesMut::with_capacity(total.min(COPIED));
    for item in &chunks {
        let octets = item.as_bytes();
        if gathered.len() + octets.len() <= COPIED {
            gathered.extend_from_slice(octets);
            continue;
        }
        let before = std::mem::replace(&mut gathered, BytesMut::new()).freeze();
        if !put(py, before, start, context)? {
            return Ok(());
        }
        if octets.len() <= COPIED {
            gathered.extend_from_slice(octets);
        } else if !put(py, Chunk(item), start, context)? {
            return Ok(());
        }
    }
    put(py, gathered.freeze(), start, context)?;
    Ok(())
}

/// Sends a chunk. Returns whether more is wanted.
fn put(
    py: Python<'_>,
    octets: impl AsRef<[u8]> + Into<Bytes>,
    start: &Bound<'_, StartResponse>,
    context: &LogContext,
) -> Result<bool, AppError> {
    let mut start = borrowed(start)?;
    if !start.writer.has_head() {
        return Err(AppError::Refused("the app did not call start_response() before the first octets of its answer".to_owned()));
    }
    if octets.as_ref().is_empty() {
        return Ok(true);
    }
    match send(py, &mut start.writer, octets) {
        Written::Sent | Written::Held(_) => Ok(true),
        Written::Enough => Ok(false),
        Written::TooLong => {
            context.log("the app's answer is longer than its Content-Length: the rest is cut off");
            Ok(false)
        }
    }
}

/// Calls `close()` of what the app returned, if it has one.
pub(super) fn close(iterable: &Bound<'_, PyAny>) -> PyResult<()> {
    if iterable.is_exact_instance_of::<PyList>() {
        return Ok(());
    }
    match iterable.getattr_opt("close")? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

/// What a callable returned, for an object that stands in for it: it is asked for its iterator once, when that is wanted.
pub(super) struct LazyIterator {
    iterable: Py<PyAny>,
    iterator: Mutex<Option<Py<PyIterator>>>,
}

impl LazyIterator {
    pub(super) fn new(iterable: Bound<'_, PyAny>) -> Self {
        Self { iterable: iterable.unbind(), iterator: Mutex::default() }
    }

    pub(super) fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let known = self.iterator.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|iterator| iterator.clone_ref(py));
        if let Some(iterator) = known {
            return Ok(iterator.into_bound(py));
        }
        let iterator = self.iterable.bind(py).try_iter()?;
        *self.iterator.lock().unwrap_or_else(PoisonError::into_inner) = Some(iterator.clone().unbind());
        Ok(iterator)
    }

    /// What it stands for.
    pub(super) fn iterable<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.iterable.bind(py)
    }

    pub(super) fn close(&self, py: Python<'_>) -> PyResult<()> {
        close(self.iterable(py))
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.iterable)
    }
}

/// Borrows the state of the response. An app that uses it in another thread at the same time breaks the rules.
fn borrowed<'py>(start: &Bound<'py, StartResponse>) -> Result<PyRefMut<'py, StartResponse>, AppError> {
    start.try_borrow_mut().map_err(|_| AppError::Refused("the app uses write() in another thread".to_owned()))
}

fn wrong_item(iterable: &Bound<'_, PyAny>, item: &str) -> AppError {
    let name = type_name(iterable);
    AppError::Refused(match &*name {
        "bytes" | "str" | "dict" => format!("the app returned `{name}`; an answer is an iterable of bytes, such as [b'...']"),
        _ => format!("the app's answer holds `{item}`; an answer is an iterable of bytes"),
    })
}
