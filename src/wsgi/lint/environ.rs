//! Checks the environ that a middleware passes on (PEP 3333 section "environ Variables").

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::Rule;
use super::check::Check;
use crate::wsgi::response_head::type_name;

/// What every environ has.
const REQUIRED: [&str; 10] = [
    "REQUEST_METHOD",
    "SERVER_NAME",
    "SERVER_PORT",
    "wsgi.version",
    "wsgi.url_scheme",
    "wsgi.input",
    "wsgi.errors",
    "wsgi.multithread",
    "wsgi.multiprocess",
    "wsgi.run_once",
];

/// The methods of the two streams.
const STREAMS: [(&str, &[&str]); 2] =
    [("wsgi.input", &["read", "readline", "readlines", "__iter__"]), ("wsgi.errors", &["write", "writelines", "flush"])];

/// Checks the environ of a call.
pub(super) fn check(environ: &Bound<'_, PyAny>, check: &Check) -> PyResult<()> {
    let find = |what: &str| check.find_in_caller(Rule::Environ, what);
    let Ok(environ) = environ.cast_exact::<PyDict>() else {
        return find(&format!("the environ that it passes on is `{}`, not dict", type_name(environ)));
    };
    for (key, value) in environ {
        let Ok(name) = key.cast::<PyString>() else {
            find(&format!("the environ that it passes on has the key {key:?}, which is no str"))?;
            continue;
        };
        let name = name.to_string_lossy();
        // Names with a dot are those of WSGI and of extensions.
        if name.contains('.') {
            continue;
        }
        match value.cast::<PyString>() {
            Ok(text) if text.to_string_lossy().chars().all(|c| c <= '\u{ff}') => {}
            Ok(_) => find(&format!("`{name}` in the environ that it passes on has characters that are not in latin-1"))?,
            Err(_) => find(&format!("`{name}` in the environ that it passes on is `{}`, not str", type_name(&value)))?,
        }
    }
    for name in REQUIRED {
        if !environ.contains(name)? {
            find(&format!("the environ that it passes on has no `{name}`"))?;
        }
    }
    for name in ["HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"] {
        if environ.contains(name)? {
            find(&format!("the environ that it passes on has `{name}`: the variable's name has no `HTTP_`"))?;
        }
    }
    let text = |name: &str| -> PyResult<Option<String>> {
        Ok(environ.get_item(name)?.and_then(|value| Some(value.cast::<PyString>().ok()?.to_string_lossy().into_owned())))
    };
    for name in ["SCRIPT_NAME", "PATH_INFO"] {
        match text(name)? {
            Some(path) if name == "SCRIPT_NAME" && path == "/" => find("`SCRIPT_NAME` in the environ that it passes on is `/`")?,
            Some(path) if !(path.is_empty() || path.starts_with('/') || path == "*") => {
                find(&format!("`{name}` in the environ that it passes on does not begin with `/`"))?;
            }
            _ => {}
        }
    }
    if text("CONTENT_LENGTH")?.is_some_and(|length| !length.bytes().all(|digit| digit.is_ascii_digit())) {
        find("`CONTENT_LENGTH` in the environ that it passes on is not a number")?;
    }
    for (name, methods) in STREAMS {
        let Some(stream) = environ.get_item(name)? else { continue };
        for method in methods {
            if !stream.hasattr(*method)? {
                find(&format!("`{name}` in the environ that it passes on has no `{method}`"))?;
            }
        }
    }
    Ok(())
}
