//! The arguments of a factory or a middleware, from JSON to Python.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use serde_json::{Map, Value};

/// Positional and keyword arguments.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a> {
    pub(super) args: &'a [Value],
    pub(super) kwargs: &'a Map<String, Value>,
}

impl Arguments<'_> {
    /// As Python objects.
    pub(super) fn to_python<'py>(self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let json = py.import("json")?;
        let loaded = |value: &Value| json.call_method1("loads", (value.to_string(),));
        let args = loaded(&Value::from(self.args))?.cast_into::<PyList>()?.to_tuple();
        let kwargs = loaded(&Value::from(self.kwargs.clone()))?.cast_into::<PyDict>()?;
        Ok((args, kwargs))
    }

    /// Whether there are none.
    pub(super) fn is_empty(self) -> bool {
        self.args.is_empty() && self.kwargs.is_empty()
    }
}
