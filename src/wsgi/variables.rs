//! The CGI variables in a WSGI environ.

use std::borrow::Cow;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::environ::latin_1;
use super::response_head::type_name;
use crate::cgi::{Invalid, Variable, VariableSource, items, joined};

/// The keys of the variables as str objects. Making and hashing one costs several times what a lookup does.
pub(super) struct Keys([Py<PyString>; Variable::ALL.len()]);

impl Keys {
    pub(super) fn new(py: Python<'_>) -> Self {
        Self(Variable::ALL.map(|variable| PyString::intern(py, variable.name()).unbind()))
    }

    pub(super) fn get(&self, variable: Variable) -> &Py<PyString> {
        &self.0[variable.index()]
    }
}

/// As many headers as browsers send.
const HEADERS: usize = 20;

/// Reads the variables of an environ, whose str values have one character per octet (PEP 3333 section "Unicode Issues").
pub(super) struct EnvironVariables<'a, 'py> {
    pub(super) environ: &'a Bound<'py, PyDict>,
    pub(super) keys: &'a Keys,
}

impl VariableSource for EnvironVariables<'_, '_> {
    type Error = PyErr;

    fn get(&self, variable: Variable) -> PyResult<Option<Cow<'_, [u8]>>> {
        let py = self.environ.py();
        let key = self.keys.get(variable).bind(py);
        if variable.is_list() {
            return joined(|number| read(self.environ, &item_key(py, variable, number)));
        }
        let Some(value) = self.environ.get_item(key)? else {
            // Some servers call it differently.
            return match variable {
                Variable::RequestUri => read(self.environ, intern!(py, "RAW_URI")),
                _ => Ok(None),
            };
        };
        match variable {
            Variable::RemoteUser | Variable::AuthType => Ok(name(&value).map(Cow::from)),
            _ => octets(key, &value).map(|octets| Some(octets.into_owned().into())),
        }
    }

    fn header_count(&self) -> usize {
        // Further ones make room for themselves.
        self.environ.len().min(HEADERS)
    }

    fn headers(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Invalid>) -> PyResult<()> {
        for (key, value) in self.environ {
            let Ok(key) = key.cast::<PyString>() else { continue };
            let Some(name) = key.to_str().ok().and_then(|key| key.strip_prefix("HTTP_")) else { continue };
            each(name.as_bytes(), &octets(key, &value)?)?;
        }
        Ok(())
    }
}

/// The key of an item of a list.
fn item_key<'py>(py: Python<'py>, variable: Variable, number: usize) -> Bound<'py, PyString> {
    PyString::new(py, &variable.item_name(number))
}

/// Sets the items of a list, and deletes further ones, up to as many as it had `before`.
pub(super) fn set_list(environ: &Bound<'_, PyDict>, variable: Variable, value: Option<&[u8]>, before: Option<&[u8]>) -> PyResult<()> {
    let py = environ.py();
    let count = |value: Option<&[u8]>| value.map_or(0, |value| items(value).count());
    for (number, line) in value.into_iter().flat_map(items).enumerate() {
        environ.set_item(item_key(py, variable, number), latin_1(py, line)?)?;
    }
    for number in count(value)..count(before) {
        let key = item_key(py, variable, number);
        if environ.contains(&key)? {
            environ.del_item(key)?;
        }
    }
    Ok(())
}

impl From<Invalid> for PyErr {
    fn from(invalid: Invalid) -> Self {
        PyValueError::new_err(format!("environ[{:?}] {}", invalid.variable, invalid.reason))
    }
}

fn read(environ: &Bound<'_, PyDict>, key: &Bound<'_, PyString>) -> PyResult<Option<Cow<'static, [u8]>>> {
    environ.get_item(key)?.map(|value| Ok(octets(key, &value)?.into_owned().into())).transpose()
}

/// The octets of a str.
fn octets<'a>(key: &Bound<'_, PyString>, value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    let shown = || format!("environ[{:?}]", key.to_string_lossy());
    let text =
        value.cast::<PyString>().map_err(|_| PyValueError::new_err(format!("{} must be a str, not `{}`", shown(), type_name(value))))?;
    let octets = match text.to_str() {
        Ok(text) if text.is_ascii() => return Ok(text.as_bytes().into()),
        Ok(text) => text.chars().map(|character| u8::try_from(character).ok()).collect::<Option<Vec<_>>>(),
        // A lone surrogate.
        Err(_) => None,
    };
    octets.map(Cow::from).ok_or_else(|| PyValueError::new_err(format!("{} holds a character above U+00FF", shown())))
}

/// What a Python middleware says about the client: octets of UTF-8, or any text; `None` if it is not a str.
fn name(value: &Bound<'_, PyAny>) -> Option<Vec<u8>> {
    let text = value.cast::<PyString>().ok()?;
    let octets = text.to_str().ok().and_then(|text| text.chars().map(|character| u8::try_from(character).ok()).collect::<Option<Vec<_>>>());
    let is_utf_8 = |octets: &Vec<u8>| std::str::from_utf8(octets).is_ok();
    Some(octets.filter(is_utf_8).unwrap_or_else(|| text.to_string_lossy().into_owned().into_bytes()))
}
