//! `environ`: a copied template, then the request's own variables (PEP 3333 section "environ Variables").

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::file_wrapper::FileWrapper;
use crate::call::head::{CONTENT_LENGTH, CONTENT_TYPE, HTTP_HOST, HeadView, KEYS, Key, REMOTE_ADDR, REQUEST_URI, SERVER_NAME};

/// How many different header names keep their key object. Names come from clients, so there has to be a bound.
const KEPT: usize = 512;

/// Makes the environ of one app's requests.
pub(super) struct Environ {
    template: Py<PyDict>,
    keys: Vec<Py<PyString>>,
    raw_uri: Py<PyString>,
    input: Py<PyString>,
    errors: Py<PyString>,
    headers: Mutex<HashMap<Box<[u8]>, Py<PyAny>>>,
}

impl Environ {
    /// For an app whose requests run in several threads at once, or not; and in several processes, or not.
    pub(super) fn new(py: Python<'_>, multithread: bool, multiprocess: bool) -> PyResult<Self> {
        let template = PyDict::new(py);
        template.set_item("wsgi.version", PyTuple::new(py, [1, 0])?)?;
        template.set_item("wsgi.multithread", multithread)?;
        template.set_item("wsgi.multiprocess", multiprocess)?;
        template.set_item("wsgi.run_once", false)?;
        template.set_item("wsgi.input_terminated", true)?;
        template.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
        template.set_item("SERVER_SOFTWARE", concat!("ziggurat/", env!("CARGO_PKG_VERSION")))?;
        for (key, usual) in KEYS {
            if let Some(usual) = usual {
                template.set_item(PyString::intern(py, key), PyString::intern(py, usual))?;
            }
        }
        let intern = |key: &str| PyString::intern(py, key).unbind();
        // What every request names has its place already, and so have some headers: a copy that need not grow is made in half the time. (A
        // dictionary keeps the room of keys that were taken out.)
        for key in ["wsgi.input", "wsgi.errors", "RAW_URI", "REQUEST_URI", "PATH_INFO", "SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR"] {
            template.set_item(intern(key), py.None())?;
        }
        for room in 0..8 {
            template.set_item(room, py.None())?;
        }
        for room in 0..8 {
            template.del_item(room)?;
        }
        Ok(Self {
            template: template.unbind(),
            keys: KEYS.iter().map(|(key, _)| intern(key)).collect(),
            raw_uri: intern("RAW_URI"),
            input: intern("wsgi.input"),
            errors: intern("wsgi.errors"),
            headers: Mutex::default(),
        })
    }

    /// The environ of one request.
    pub(super) fn of<'py>(
        &self,
        py: Python<'py>,
        head: HeadView<'_>,
        input: &Bound<'py, PyAny>,
        errors: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let environ = self.template.bind(py).copy()?;
        environ.set_item(&self.input, input)?;
        environ.set_item(&self.errors, errors)?;
        for (key, value) in head {
            let value = latin_1(py, value)?;
            match key {
                Key::Known(number) => {
                    if number == usize::from(REQUEST_URI) {
                        environ.set_item(&self.raw_uri, &value)?;
                    }
                    if let Some(key) = self.keys.get(number) {
                        environ.set_item(key, value)?;
                    }
                }
                Key::Header(name) => environ.set_item(self.header(py, name)?, value)?,
            }
        }
        Ok(environ)
    }

    /// The environ of a request that another WSGI callable made: the same dict, so that both see what the other leaves in it, with what the layers
    /// between have changed. The server's name and the client's address stay as they are where only the caller knows them.
    pub(super) fn over<'py>(
        &self,
        outer: &Bound<'py, PyDict>,
        head: HeadView<'_>,
        input: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = outer.py();
        outer.set_item(&self.input, input)?;
        outer.set_item("wsgi.input_terminated", true)?;
        for (key, (_, usual)) in self.keys.iter().zip(KEYS) {
            if let Some(usual) = usual {
                outer.set_item(key, usual)?;
            }
        }
        let (mut has_type, mut has_length, mut headers) = (false, false, 0_usize);
        for (key, value) in head {
            match key {
                Key::Known(number) if number == usize::from(SERVER_NAME) || (number == usize::from(REMOTE_ADDR) && value.is_empty()) => {}
                Key::Known(number) => {
                    has_type |= number == usize::from(CONTENT_TYPE);
                    has_length |= number == usize::from(CONTENT_LENGTH);
                    headers += usize::from(number == usize::from(HTTP_HOST));
                    if let Some(key) = self.keys.get(number) {
                        outer.set_item(key, latin_1(py, value)?)?;
                    }
                }
                Key::Header(name) => {
                    headers += 1;
                    outer.set_item(self.header(py, name)?, latin_1(py, value)?)?;
                }
            }
        }
        for (key, is_told) in [(CONTENT_TYPE, has_type), (CONTENT_LENGTH, has_length)] {
            if !is_told && let Some(key) = self.keys.get(usize::from(key)).filter(|key| outer.contains(key).unwrap_or(false)) {
                outer.del_item(key)?;
            }
        }
        forget_headers(outer, head, headers)?;
        Ok(outer.clone())
    }

    /// The key object of a header.
    fn header<'py>(&self, py: Python<'py>, name: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let mut kept = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = kept.get(name) {
            return Ok(key.bind(py).clone());
        }
        let key = latin_1(py, name)?;
        if kept.len() < KEPT {
            kept.insert(name.into(), key.clone().unbind());
        }
        Ok(key)
    }
}

/// Takes headers out that the request has no more; it has so many now.
fn forget_headers(environ: &Bound<'_, PyDict>, head: HeadView<'_>, count: usize) -> PyResult<()> {
    let is_header = |key: &Bound<'_, PyAny>| key.cast::<PyString>().is_ok_and(|key| key.to_str().is_ok_and(|key| key.starts_with("HTTP_")));
    let keys: Vec<_> = environ.keys().iter().filter(is_header).collect();
    if keys.len() == count {
        return Ok(());
    }
    for key in keys {
        let name = key.cast::<PyString>()?.to_str()?.as_bytes().to_vec();
        let is_there = head.into_iter().any(|(key, _)| match key {
            Key::Header(header) => header == name,
            Key::Known(number) => number == usize::from(HTTP_HOST) && name == b"HTTP_HOST",
        });
        if !is_there {
            environ.del_item(key)?;
        }
    }
    Ok(())
}

/// A str with one character per octet.
pub(super) fn latin_1<'py>(py: Python<'py>, octets: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let length = ffi::Py_ssize_t::try_from(octets.len())?;
    // SAFETY: the pointer and the length are those of a slice of octets, which is what this kind says; the result is a new reference, or null
    // with an exception set.
    #[allow(unsafe_code)]
    unsafe {
        let text = ffi::PyUnicode_FromKindAndData(ffi::PyUnicode_1BYTE_KIND as _, octets.as_ptr().cast(), length);
        Bound::from_owned_ptr_or_err(py, text)
    }
}
