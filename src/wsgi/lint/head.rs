//! Checks status and headers of a response. The server accepts some of what is a finding here: it does no harm there.

use http::HeaderName;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use ziggurat_middleware::hop_by_hop;

use super::Rule;
use super::check::Check;
use crate::wsgi::response_head::type_name;

/// Checks the status, and says whether it has no body.
pub(super) fn check_status(status: &Bound<'_, PyAny>, check: &Check) -> PyResult<bool> {
    let Ok(text) = status.cast::<PyString>() else {
        check.find(Rule::Status, &format!("its status is `{}`, not str", type_name(status)))?;
        return Ok(false);
    };
    let text = text.to_string_lossy();
    let (digits, phrase) = text.split_at_checked(3).unwrap_or((&*text, ""));
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) || digits.len() != 3 || !phrase.starts_with(' ') {
        check.find(Rule::Status, &format!("its status is {text:?}, not three digits, a space and a phrase"))?;
    } else if text.chars().any(|c| c.is_ascii_control() || c > '\u{ff}') {
        check.find(Rule::Status, &format!("its status {text:?} has control characters, or others than those of latin-1"))?;
    }
    Ok(matches!(digits, "204" | "304"))
}

/// Checks the headers, and gives the length that they say.
pub(super) fn check_headers(headers: &Bound<'_, PyAny>, check: &Check) -> PyResult<Option<u64>> {
    let Ok(list) = headers.cast_exact::<PyList>() else {
        check.find(Rule::Headers, &format!("its headers are `{}`, not a list", type_name(headers)))?;
        // Reading them could use them up.
        return Ok(None);
    };
    let (mut length, mut names_a_file) = (None, false);
    for pair in list {
        let Some((name, value)) = texts(&pair) else {
            check.find(Rule::Headers, &format!("its header {pair:?} is not a tuple of two str"))?;
            continue;
        };
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        let Ok(known) = HeaderName::from_bytes(name.as_bytes()) else {
            check.find(Rule::Headers, &format!("{name:?} is not the name of a header"))?;
            continue;
        };
        if hop_by_hop::contains(&known) {
            check.find(Rule::Headers, &format!("`{name}` is a hop-by-hop header, which the server sets"))?;
        }
        if known == "status" {
            check.find(Rule::Headers, &format!("it has a header `{name}`, which is of CGI"))?;
        }
        if value.chars().any(|c| c.is_ascii_control() || c > '\u{ff}') {
            check.find(Rule::Headers, &format!("the value of `{name}` has control characters, or others than those of latin-1"))?;
        }
        if known == http::header::CONTENT_LENGTH {
            length = value.parse().ok();
            if length.is_none() {
                check.find(Rule::Headers, "its Content-Length is not a number")?;
            }
        }
        // The length is that of the file then.
        names_a_file |= known == "x-sendfile" || known == "x-accel-redirect";
    }
    Ok(length.filter(|_| !names_a_file))
}

/// The two str of a tuple.
fn texts<'py>(pair: &Bound<'py, PyAny>) -> Option<(Bound<'py, PyString>, Bound<'py, PyString>)> {
    let pair = pair.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2)?;
    let text = |nth| pair.get_item(nth).ok()?.cast_into::<PyString>().ok();
    Some((text(0)?, text(1)?))
}
