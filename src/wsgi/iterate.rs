//! What the app returned, sent as it comes.

use bytes::{Bytes, BytesMut};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::errors::Origin;
use super::file_wrapper::FileWrapper;
use super::outlet::Written;
use super::response_head::type_name;
use super::start_response::{StartResponse, chunk, lent, send};

/// Small chunks of a list go together up to this many octets.
const TOGETHER: usize = 32 * 1024;

/// Why the answer could not be sent to its end.
pub(super) enum Stop {
    /// The app raised.
    Raised(PyErr),
    /// The app broke the rules so.
    Refused(String),
}

impl From<PyErr> for Stop {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

/// Sends all that `iterable` gives.
pub(super) fn send_all(iterable: &Bound<'_, PyAny>, start: &Bound<'_, StartResponse>, origin: &Origin) -> Result<(), Stop> {
    let py = iterable.py();
    if let Ok(list) = iterable.cast_exact::<PyList>() {
        return send_list(py, &list.to_tuple(), start, origin);
    }
    if let Ok(tuple) = iterable.cast_exact::<PyTuple>() {
        return send_list(py, tuple, start, origin);
    }
    if is_bodiless(start) {
        return Ok(());
    }
    if let Ok(wrapper) = iterable.cast_exact::<FileWrapper>()
        && borrowed(start)?.outlet.awaits_body()
        // A file that cannot be asked is read, and raises there.
        && let Ok(Some(file)) = wrapper.get().body(py)
    {
        let mut start = borrowed(start)?;
        let outlet = &mut start.outlet;
        py.detach(|| outlet.file(file));
        return Ok(());
    }
    let iterator = iterable
        .try_iter()
        .map_err(|_| Stop::Refused(format!("the app returned `{}`, which is no iterable of bytes", type_name(iterable))))?;
    for item in iterator {
        let octets = chunk(&item?).map_err(|name| wrong_item(iterable, &name))?;
        if is_bodiless(start) {
            return Ok(());
        }
        if !octets.is_empty() && !put(py, octets, start, origin)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends chunks that are all there. Their sum is the length of the answer, where the app declared none.
fn send_list(py: Python<'_>, items: &Bound<'_, PyTuple>, start: &Bound<'_, StartResponse>, origin: &Origin) -> Result<(), Stop> {
    let chunks = items.iter().map(|item| item.cast_into::<PyBytes>().map_err(|error| wrong_item(items, &type_name(&error.into_inner()))));
    let chunks = chunks.collect::<Result<Vec<_>, Stop>>()?;
    let total = chunks.iter().map(|chunk| chunk.as_bytes().len()).sum();
    {
        let mut start = borrowed(start)?;
        start.outlet.declare(total);
        // A list has no close().
        start.outlet.set_last();
    }
    let mut gathered = BytesMut::with_capacity(total.min(TOGETHER));
    for item in &chunks {
        let octets = item.as_bytes();
        if gathered.len() + octets.len() <= TOGETHER {
            gathered.extend_from_slice(octets);
            continue;
        }
        let before = std::mem::replace(&mut gathered, BytesMut::new()).freeze();
        if !put(py, before, start, origin)? {
            return Ok(());
        }
        if octets.len() <= TOGETHER {
            gathered.extend_from_slice(octets);
        } else if !put(py, lent(item), start, origin)? {
            return Ok(());
        }
    }
    put(py, gathered.freeze(), start, origin)?;
    Ok(())
}

/// Sends a chunk. Says whether more is wanted.
fn put(py: Python<'_>, octets: Bytes, start: &Bound<'_, StartResponse>, origin: &Origin) -> Result<bool, Stop> {
    let mut start = borrowed(start)?;
    if !start.outlet.has_head() {
        return Err(Stop::Refused("the app did not call start_response() before the first octets of its answer".to_owned()));
    }
    if octets.is_empty() {
        return Ok(true);
    }
    match send(py, &mut start.outlet, octets) {
        Written::Sent | Written::Held(_) => Ok(true),
        Written::Enough => Ok(false),
        Written::TooLong => {
            origin.log("the app's answer is longer than its Content-Length: the rest is cut off");
            Ok(false)
        }
    }
}

/// Calls the `close()` of what the app returned, where it has one.
pub(super) fn close(iterable: &Bound<'_, PyAny>) -> PyResult<()> {
    if iterable.is_exact_instance_of::<PyList>() {
        return Ok(());
    }
    match iterable.getattr_opt("close")? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

fn is_bodiless(start: &Bound<'_, StartResponse>) -> bool {
    start.try_borrow().is_ok_and(|start| start.outlet.is_bodiless())
}

/// The answer's state; an app that uses it in another thread at the same time breaks the rules.
fn borrowed<'py>(start: &Bound<'py, StartResponse>) -> Result<PyRefMut<'py, StartResponse>, Stop> {
    start.try_borrow_mut().map_err(|_| Stop::Refused("the app uses write() in another thread".to_owned()))
}

fn wrong_item(iterable: &Bound<'_, PyAny>, item: &str) -> Stop {
    let name = type_name(iterable);
    Stop::Refused(match &*name {
        "bytes" | "str" | "dict" => format!("the app returned `{name}`; an answer is an iterable of bytes, such as [b'...']"),
        _ => format!("the app's answer holds `{item}`; an answer is an iterable of bytes"),
    })
}
