//! `environ`: a copied template with the variables of the request (PEP 3333 section "environ Variables").

use std::sync::{Mutex, PoisonError};

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::file_wrapper::FileWrapper;
use super::variables::{Keys, set_list};
use super::websocket;
use crate::call::head::{HeadView, Key, usual};
use crate::cgi::Variable;

/// How many header names keep their key object. Clients choose the names, so the number is bounded.
const KEPT: usize = 512;

/// What an environ says about the calls of its app (PEP 3333): the variables of these names in `wsgi`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Concurrency {
    /// Other threads of the process may call the app at the same time.
    pub(super) multithread: bool,
    /// Other processes may.
    pub(super) multiprocess: bool,
    /// The process ends after one call.
    pub(super) run_once: bool,
}

/// Makes the environs of one app.
pub(super) struct Environ {
    template: Py<PyDict>,
    keys: Keys,
    raw_uri: Py<PyString>,
    input: Py<PyString>,
    errors: Py<PyString>,
    headers: Mutex<foldhash::HashMap<Box<[u8]>, Py<PyAny>>>,
}

impl Environ {
    pub(super) fn new(py: Python<'_>, concurrency: Concurrency) -> PyResult<Self> {
        let template = PyDict::new(py);
        template.set_item("wsgi.version", PyTuple::new(py, [1, 0])?)?;
        template.set_item("wsgi.multithread", concurrency.multithread)?;
        template.set_item("wsgi.multiprocess", concurrency.multiprocess)?;
        template.set_item("wsgi.run_once", concurrency.run_once)?;
        template.set_item("wsgi.input_terminated", true)?;
        template.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
        template.set_item("SERVER_SOFTWARE", concat!("ziggurat/", env!("CARGO_PKG_VERSION")))?;
        let keys = Keys::new(py);
        for variable in Variable::ALL {
            if let Some(usual) = usual(variable) {
                template.set_item(keys.get(variable), PyString::intern(py, usual))?;
            }
        }
        let intern = |key: &str| PyString::intern(py, key).unbind();
        // The template already has the keys of every request and room for some headers: a copy that need not grow takes half the time. (A dictionary
        // keeps the room of deleted keys.)
        for key in ["wsgi.input", "wsgi.errors", "RAW_URI", "REQUEST_URI", "PATH_INFO", "SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR"] {
            template.set_item(intern(key), py.None())?;
        }
        // Keys of another type than str would make the dictionary a general one, which is larger.
        let room = ["0", "1", "2", "3", "4", "5", "6", "7"];
        room.iter().try_for_each(|key| template.set_item(key, py.None()))?;
        room.iter().try_for_each(|key| template.del_item(key))?;
        Ok(Self {
            template: template.unbind(),
            keys,
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
        for (key, octets) in head {
            let value = latin_1(py, octets)?;
            match key {
                Key::Known(variable) if variable.is_list() => set_list(&environ, variable, Some(octets), None)?,
                Key::Known(variable) => {
                    if variable == Variable::RequestUri {
                        environ.set_item(&self.raw_uri, &value)?;
                    }
                    environ.set_item(self.keys.get(variable), value)?;
                }
                Key::Header(name) => environ.set_item(self.header(py, name)?, value)?,
            }
        }
        Ok(environ)
    }

    /// The environ of a request from a Python caller: the same dict, so that both see what the other stores in it, with the variables that the layers
    /// between have changed since `before`. Everything else stays as it is.
    pub(super) fn over<'py>(
        &self,
        outer: &Bound<'py, PyDict>,
        before: HeadView<'_>,
        head: HeadView<'_>,
        input: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = outer.py();
        outer.set_item(&self.input, input)?;
        outer.set_item(intern!(py, "wsgi.input_terminated"), true)?;
        // A file that the app returns is for the layers above, which know our wrapper.
        outer.set_item(intern!(py, "wsgi.file_wrapper"), py.get_type::<FileWrapper>())?;
        let values = before.known().into_iter().zip(head.known());
        for (variable, (was, is)) in Variable::ALL.into_iter().zip(values) {
            if variable.is_list() {
                if was != is {
                    set_list(outer, variable, is, was)?;
                }
                continue;
            }
            let key = self.keys.get(variable);
            match is {
                Some(value) if was != is || !outer.contains(key)? => outer.set_item(key, latin_1(py, value)?)?,
                None if was.is_some() && outer.contains(key)? => outer.del_item(key)?,
                _ => {}
            }
        }
        if before.headers().ne(head.headers()) {
            for (name, value) in head.headers().filter(|pair| before.headers().all(|other| other != *pair)) {
                outer.set_item(self.header(py, name)?, latin_1(py, value)?)?;
            }
        }
        forget_headers(outer, head, websocket::is_there(outer)?)?;
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

/// Deletes headers that the request does not have. Layers see no hop-by-hop headers; the two of a WebSocket stay.
fn forget_headers(environ: &Bound<'_, PyDict>, head: HeadView<'_>, is_websocket: bool) -> PyResult<()> {
    let has_host = head.known()[Variable::HttpHost.index()].is_some();
    let is_header = |key: &Bound<'_, PyAny>| {
        let Ok(key) = key.cast::<PyString>().map_err(PyErr::from).and_then(|key| key.to_str()) else { return false };
        key.starts_with("HTTP_") && !(is_websocket && matches!(key, "HTTP_CONNECTION" | "HTTP_UPGRADE"))
    };
    if environ.iter().filter(|(key, _)| is_header(key)).count() == head.headers().count() + usize::from(has_host) {
        return Ok(());
    }
    for key in environ.keys().iter().filter(is_header) {
        let name = key.cast::<PyString>()?.to_str()?.as_bytes().to_vec();
        let is_there = if name == b"HTTP_HOST" { has_host } else { head.headers().any(|(header, _)| header == name) };
        if !is_there {
            environ.del_item(key)?;
        }
    }
    Ok(())
}

/// A str with one character per octet.
pub(super) fn latin_1<'py>(py: Python<'py>, octets: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let length = ffi::Py_ssize_t::try_from(octets.len())?;
    // SAFETY: pointer and length are those of a slice of octets, as this kind requires; the result is a new reference, or null with an exception set.
    #[allow(unsafe_code)]
    unsafe {
        let text = ffi::PyUnicode_FromKindAndData(ffi::PyUnicode_1BYTE_KIND as _, octets.as_ptr().cast(), length);
        Bound::from_owned_ptr_or_err(py, text)
    }
}
