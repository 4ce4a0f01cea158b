//! Checks what an app passes to `start_response`: nothing that could split the response is accepted (PEP 3333 section "The start_response()
//! Callable").

use http::StatusCode;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::call::encoded_head::{EncodedHead, InvalidField};

/// Reads status and headers.
pub(super) fn response_head(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<EncodedHead> {
    let (status, reason) = read_status(status)?;
    let mut head = EncodedHead::new(status, reason);
    let names_file = read_headers(&mut head, headers)?;
    if names_file {
        head.remove_length();
    }
    Ok(head)
}

/// Reads the headers of a hint (103).
pub(super) fn hint_head(headers: &Bound<'_, PyAny>) -> PyResult<EncodedHead> {
    let mut head = EncodedHead::new(StatusCode::EARLY_HINTS, None);
    read_headers(&mut head, headers)?;
    Ok(head)
}

/// Adds headers to a head. Returns whether one of them names a file in place of the body.
fn read_headers(head: &mut EncodedHead, headers: &Bound<'_, PyAny>) -> PyResult<bool> {
    let mut names_file = false;
    for pair in headers.try_iter().map_err(|_| not_pairs(headers))? {
        let pair = pair?;
        let (name, value) = read_pair(&pair)?;
        let name_octets = latin_1(&name, "the name of a response header")?;
        let value_octets = latin_1(&value, "the value of a response header")?;
        // Spaces around a value are not part of it, and HTTP/2 refuses them (RFC 9113 section 8.2.1). Django's `Set-Cookie` begins with one.
        head.push(&name_octets, without_blanks(&value_octets)).map_err(|invalid| refused(invalid, &name, &value))?;
        names_file |= names_a_file(&name_octets);
    }
    Ok(names_file)
}

/// Whether a `sendfile` layer, or a server in front, replaces the body by a file. Some apps then declare the file's length.
fn names_a_file(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"x-accel-redirect") || name.eq_ignore_ascii_case(b"x-sendfile")
}

fn refused(invalid: InvalidField, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err(match invalid {
        InvalidField::Name => format!("{name:?} is not the name of a header"),
        InvalidField::Value => format!("the value of a response header holds control characters: {value:?}"),
        InvalidField::Length => format!("Content-Length must be a number, not {value:?}"),
        InvalidField::SecondLength => "the response has two different Content-Length headers".to_owned(),
        InvalidField::Count => "the response has too many headers".to_owned(),
    })
}

fn not_pairs(headers: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("response headers must be a list of (name, value) tuples, not `{}`", type_name(headers)))
}

fn read_pair<'a>(pair: &'a Bound<'_, PyAny>) -> PyResult<(Bound<'a, PyAny>, Bound<'a, PyAny>)> {
    if let Ok(tuple) = pair.cast::<PyTuple>()
        && tuple.len() == 2
    {
        return Ok((tuple.get_item(0)?, tuple.get_item(1)?));
    }
    if pair.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("a response header must be a (name, value) tuple, not `str`"));
    }
    pair.extract().map_err(|_| PyTypeError::new_err(format!("a response header must be a (name, value) tuple, not `{}`", type_name(pair))))
}

/// `200 OK`: three digits, a space and a phrase. Some apps leave the phrase out, as HTTP allows.
fn read_status(status: &Bound<'_, PyAny>) -> PyResult<(StatusCode, Option<Box<[u8]>>)> {
    let text = latin_1(status, "the response status")?;
    let refused = || PyValueError::new_err(format!("the response status must be like '200 OK', not {status:?}"));
    let (digits, reason) = text.split_at_checked(3).ok_or_else(refused)?;
    let reason = if reason.is_empty() { None } else { Some(reason.strip_prefix(b" ").ok_or_else(refused)?) };
    let code = StatusCode::from_bytes(digits).map_err(|_| refused())?;
    if reason.into_iter().flatten().any(|octet| octet.is_ascii_control() && *octet != b'\t') {
        return Err(PyValueError::new_err("the response status holds control characters"));
    }
    if code.is_informational() {
        return Err(PyValueError::new_err(format!("an app cannot answer with {code}: the server sends what comes before a response")));
    }
    let is_usual = |reason: &&[u8]| code.canonical_reason().is_some_and(|usual| usual.as_bytes() == *reason);
    Ok((code, reason.filter(|reason| !reason.is_empty() && !is_usual(reason)).map(Into::into)))
}

fn without_blanks(octets: &[u8]) -> &[u8] {
    let is_ink = |octet: &u8| !matches!(octet, b' ' | b'\t');
    let start = octets.iter().position(is_ink).unwrap_or(octets.len());
    let end = octets.iter().rposition(is_ink).map_or(start, |last| last + 1);
    &octets[start..end]
}

/// The octets of a str without characters above U+00FF, as PEP 3333 requires.
fn latin_1<'a>(text: &'a Bound<'_, PyAny>, what: &str) -> PyResult<std::borrow::Cow<'a, [u8]>> {
    let text = text.cast::<PyString>().map_err(|_| PyTypeError::new_err(format!("{what} must be a str, not `{}`", type_name(text))))?;
    let unicode = text.to_str()?;
    if unicode.is_ascii() {
        return Ok(unicode.as_bytes().into());
    }
    let octets: Option<Vec<u8>> = unicode.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    Ok(octets.ok_or_else(|| PyValueError::new_err(format!("{what} must hold latin-1 only: {text:?}")))?.into())
}

/// The name of an object's type, for messages.
pub(super) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}
