//! From `environ` to a request, as if the server had taken it in itself.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Uri, Version, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use ziggurat_middleware::{Body, ConnectionInfo, Mount, RemoteUser, Request, RequestId, Scheme};

use super::body::EnvironBody;
use crate::call::head::Head;
use crate::wsgi::response_head::type_name;

/// As many as browsers send have their place at once.
const HEADERS: usize = 20;

/// What must be percent-encoded in a path (RFC 3986 section 3.3).
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'|')
    .add(b'\\');

/// The caller: its environ, which the app below gets again.
#[derive(Clone)]
pub(in crate::wsgi) struct Caller {
    pub(in crate::wsgi) environ: Arc<Py<PyDict>>,
    /// What the environ said before any layer changed the request.
    pub(in crate::wsgi) head: Head,
}

/// The request that an environ stands for. Where it `is_fresh` from another server, what proxies claim in its headers is not judged yet, and nobody
/// has read of its body.
pub(super) fn request_of(environ: &Bound<'_, PyDict>, is_fresh: bool) -> PyResult<Request> {
    let (py, vars) = (environ.py(), Vars(environ));
    let mut request = Request::new(Body::empty());
    *request.method_mut() = vars
        .text(intern!(py, "REQUEST_METHOD"))?
        .map_or(Ok(Method::GET), |method| Method::from_bytes(&method))
        .map_err(|_| PyValueError::new_err("REQUEST_METHOD is not the name of a method"))?;
    *request.version_mut() = match vars.text(intern!(py, "SERVER_PROTOCOL"))?.as_deref() {
        Some(b"HTTP/1.0") => Version::HTTP_10,
        Some(b"HTTP/2.0" | b"HTTP/2") => Version::HTTP_2,
        Some(b"HTTP/3.0" | b"HTTP/3") => Version::HTTP_3,
        _ => Version::HTTP_11,
    };
    let (uri, mount) = target(&vars)?;
    *request.uri_mut() = uri;
    headers(environ, &vars, &mut request)?;
    let length = vars.text(intern!(py, "CONTENT_LENGTH"))?.and_then(|length| String::from_utf8(length).ok()?.trim().parse::<u64>().ok());
    *request.body_mut() = EnvironBody::of(environ, length, is_fresh)?;

    let facts = request.extensions_mut();
    facts.insert(connection(&vars, !is_fresh)?);
    if let Some(mount) = mount {
        facts.insert(mount);
    }
    if let Some(user) = vars.name(intern!(py, "REMOTE_USER"))? {
        facts.insert(RemoteUser { user: user.into(), auth_type: vars.name(intern!(py, "AUTH_TYPE"))?.unwrap_or_default().into() });
    }
    if let Some(id) = vars.text(intern!(py, "ziggurat.request_id"))?.and_then(|id| RequestId::new(HeaderValue::from_bytes(&id).ok()?)) {
        facts.insert(id);
    }
    let (mut parts, body) = request.into_parts();
    let head = Head::with_body(&parts, &body);
    parts.extensions.insert(Caller { environ: Arc::new(environ.clone().unbind()), head });
    Ok(Request::from_parts(parts, body))
}

/// The variables of an environ as the octets they stand for.
struct Vars<'a, 'py>(&'a Bound<'py, PyDict>);

/// A key, made and hashed once: that costs several times what looking it up does.
type Name<'py> = Bound<'py, PyString>;

impl<'py> Vars<'_, 'py> {
    fn text(&self, key: &Name<'py>) -> PyResult<Option<Vec<u8>>> {
        self.0.get_item(key)?.map(|value| Ok(octets(key, &value)?.into_owned())).transpose()
    }

    /// What another callable says of the client, in octets of UTF-8 or as it stands; nothing where it says nothing.
    fn name(&self, key: &Name<'py>) -> PyResult<Option<String>> {
        let Some(value) = self.0.get_item(key)? else { return Ok(None) };
        let Ok(text) = value.cast::<PyString>() else { return Ok(None) };
        let as_utf_8 = octets(key, &value).ok().and_then(|octets| String::from_utf8(octets.into_owned()).ok());
        let name = as_utf_8.unwrap_or_else(|| text.to_string_lossy().into_owned());
        Ok((!name.is_empty()).then_some(name))
    }
}

/// A str of latin-1 characters as octets (PEP 3333 section "Unicode Issues").
fn octets<'a>(key: &Name<'_>, value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    let text = value
        .cast::<PyString>()
        .map_err(|_| PyValueError::new_err(format!("environ[{}] must be a str, not `{}`", shown(key), type_name(value))))?;
    let octets = match text.to_str() {
        Ok(text) if text.is_ascii() => return Ok(text.as_bytes().into()),
        Ok(text) => text.chars().map(|character| u8::try_from(character).ok()).collect::<Option<Vec<_>>>(),
        // Half of a character.
        Err(_) => None,
    };
    octets.map(Cow::from).ok_or_else(|| PyValueError::new_err(format!("environ[{}] holds a character that is no octet", shown(key))))
}

fn shown(key: &Name<'_>) -> String {
    format!("{:?}", key.to_string_lossy())
}

/// The target below the mount, and the mount where there is one. Where the caller says how the client wrote the target, and that still
/// is what the path variables say, it stands; else it is written anew from them.
fn target(vars: &Vars<'_, '_>) -> PyResult<(Uri, Option<Mount>)> {
    let py = vars.0.py();
    let script = vars.text(intern!(py, "SCRIPT_NAME"))?.unwrap_or_default();
    let path = vars.text(intern!(py, "PATH_INFO"))?.unwrap_or_default();
    let query = vars.text(intern!(py, "QUERY_STRING"))?.unwrap_or_default();
    if path == b"*" && script.is_empty() {
        return Ok((Uri::from_static("*"), None));
    }
    let as_written = [intern!(py, "REQUEST_URI"), intern!(py, "RAW_URI")].into_iter().find_map(|key| {
        let written = String::from_utf8(vars.text(key).ok()??).ok()?;
        let written = PathAndQuery::from_str(&written).ok()?;
        split(written.path(), &script, &path).map(|(prefix, rest)| (prefix.to_owned(), rest.to_owned()))
    });
    let (prefix, rest) = as_written.unwrap_or_else(|| (percent_encode(&script, PATH).to_string(), percent_encode(&path, PATH).to_string()));
    let query = if query.is_empty() { String::new() } else { format!("?{}", percent_encode(&query, QUERY)) };
    let uri = |path: &str| {
        let target = if path.starts_with('/') { format!("{path}{query}") } else { format!("/{path}{query}") };
        Uri::from_str(&target).map_err(|_| PyValueError::new_err("the path and the query of the environ make no request target"))
    };
    let below = uri(&rest)?;
    if prefix.is_empty() {
        return Ok((below, None));
    }
    let whole = uri(&format!("{prefix}{rest}"))?;
    Ok((below, Some(Mount { prefix: prefix.into(), target: whole })))
}

/// What no query can hold; the rest of it is the client's own writing.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// A written path, split where the part that decodes to `script` ends, if the rest decodes to `path`.
fn split<'a>(written: &'a str, script: &[u8], path: &[u8]) -> Option<(&'a str, &'a str)> {
    let decodes_to = |text: &str, octets: &[u8]| percent_decode_str(text).eq(octets.iter().copied());
    let mut at = 0;
    for _ in script {
        at += if written.as_bytes().get(at)? == &b'%' { 3 } else { 1 };
    }
    let (prefix, rest) = (written.get(..at)?, written.get(at..)?);
    (decodes_to(prefix, script) && decodes_to(rest, path)).then_some((prefix, rest))
}

/// The headers: `HTTP_...`, `CONTENT_TYPE` and `CONTENT_LENGTH`.
fn headers(environ: &Bound<'_, PyDict>, vars: &Vars<'_, '_>, request: &mut Request) -> PyResult<()> {
    let py = environ.py();
    let headers = request.headers_mut();
    headers.reserve(HEADERS);
    let mut spelled = Vec::with_capacity(32);
    for (key, value) in environ {
        let Ok(key) = key.cast::<PyString>() else { continue };
        let Some(name) = key.to_str().ok().and_then(|key| key.strip_prefix("HTTP_")) else { continue };
        let bad = || PyValueError::new_err(format!("environ[{}] is no header", shown(key)));
        spelled.clear();
        spelled.extend(name.bytes().map(|octet| if octet == b'_' { b'-' } else { octet }));
        let name = HeaderName::from_bytes(&spelled).map_err(|_| bad())?;
        let value = HeaderValue::from_bytes(&octets(key, &value)?).map_err(|_| bad())?;
        headers.insert(name, value);
    }
    for (name, key) in [(header::CONTENT_TYPE, intern!(py, "CONTENT_TYPE")), (header::CONTENT_LENGTH, intern!(py, "CONTENT_LENGTH"))] {
        if let Some(value) = vars.text(key)?.filter(|value| !value.is_empty()) {
            headers.insert(
                name,
                HeaderValue::from_bytes(&value).map_err(|_| PyValueError::new_err(format!("environ[{}] is no header", shown(key))))?,
            );
        }
    }
    Ok(())
}

fn connection(vars: &Vars<'_, '_>, is_vetted: bool) -> PyResult<ConnectionInfo> {
    let py = vars.0.py();
    let parsed = |key: &Name<'_>| -> PyResult<Option<String>> { Ok(vars.text(key)?.and_then(|value| String::from_utf8(value).ok())) };
    Ok(ConnectionInfo {
        client: parsed(intern!(py, "REMOTE_ADDR"))?.and_then(|address| IpAddr::from_str(&address).ok()),
        client_port: parsed(intern!(py, "REMOTE_PORT"))?.and_then(|port| port.parse().ok()),
        scheme: if parsed(intern!(py, "wsgi.url_scheme"))?.as_deref() == Some("https") { Scheme::Https } else { Scheme::Http },
        server_port: parsed(intern!(py, "SERVER_PORT"))?.and_then(|port| port.parse().ok()),
        local: None,
        is_vetted,
    })
}
