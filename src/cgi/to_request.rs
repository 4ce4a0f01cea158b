//! Variables to request.

use std::net::IpAddr;
use std::str::FromStr;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use ziggurat_middleware::{Authenticated, ConnectionInfo, Mount, OriginalUri, RemoteUser, RequestId, Scheme, WsgiLint};

use super::{Invalid, Variable, VariableSource, has_variable, tls};

/// Octets that are percent-encoded in a path (RFC 3986 section 3.3).
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

/// Octets that are percent-encoded in a query (RFC 3986 section 3.4). The rest is as the client wrote it.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// Reads the head of a request. Its extensions are the facts that the variables contain. `is_vetted` says whether the claims of proxies in its
/// headers have been judged ([`ConnectionInfo::is_vetted`]).
///
/// Variables that are not set have their defaults in RFC 3875 and PEP 3333; so do addresses, ports and protocols that cannot be parsed.
///
/// # Errors
///
/// [`Invalid`] if the method, the target, `CONTENT_LENGTH`, or the name or value of a header is not valid in HTTP.
pub(crate) fn to_request<S: VariableSource>(source: &S, is_vetted: bool) -> Result<Parts, S::Error> {
    let (mut parts, ()) = Request::new(()).into_parts();
    if let Some(method) = source.get(Variable::RequestMethod)? {
        parts.method = Method::from_bytes(&method).map_err(|_| invalid(Variable::RequestMethod, "is not a method"))?;
    }
    parts.version = match source.get(Variable::ServerProtocol)?.as_deref() {
        Some(b"HTTP/0.9") => Version::HTTP_09,
        Some(b"HTTP/1.0") => Version::HTTP_10,
        Some(b"HTTP/2.0" | b"HTTP/2") => Version::HTTP_2,
        Some(b"HTTP/3.0" | b"HTTP/3") => Version::HTTP_3,
        _ => Version::HTTP_11,
    };
    let (uri, mount) = target(source)?;
    parts.uri = uri;
    headers(source, &mut parts)?;
    parts.extensions.insert(connection(source, is_vetted)?);
    if let Some(mount) = mount {
        parts.extensions.insert(mount);
    }
    if let Some(original) = original(source, OriginalUri::of(&parts.uri, &parts.extensions))? {
        parts.extensions.insert(original);
    }
    match (text(source, Variable::RemoteUser)?, text(source, Variable::AuthType)?) {
        (Some(user), auth_type) => {
            parts.extensions.insert(RemoteUser { user: user.into(), auth_type: auth_type.unwrap_or_default().into() });
        }
        (None, Some(auth_type)) if !auth_type.is_empty() => {
            parts.extensions.insert(Authenticated { auth_type: auth_type.into() });
        }
        (None, _) => {}
    }
    if let Some(tls) = tls::read(source)? {
        parts.extensions.insert(tls);
    }
    let id = source.get(Variable::RequestId)?.and_then(|id| RequestId::new(HeaderValue::from_bytes(&id).ok()?));
    if let Some(id) = id {
        parts.extensions.insert(id);
    }
    if let Some(lint) = source.get(Variable::WsgiLint)?.and_then(|name| WsgiLint::named(&name)) {
        parts.extensions.insert(lint);
    }
    Ok(parts)
}

/// The target below the mount, and the mount if there is one. `REQUEST_URI` is used if it matches the path variables: a middleware that changes these
/// leaves it as it was.
fn target<S: VariableSource>(source: &S) -> Result<(Uri, Option<Mount>), S::Error> {
    let script = source.get(Variable::ScriptName)?.unwrap_or_default();
    let path = source.get(Variable::PathInfo)?.unwrap_or_default();
    let query = source.get(Variable::QueryString)?.unwrap_or_default();
    if *path == *b"*" && script.is_empty() {
        return Ok((Uri::from_static("*"), None));
    }
    let written = source.get(Variable::RequestUri)?.and_then(|written| PathAndQuery::try_from(&*written).ok());
    if let Some(written) = &written
        && script.is_empty()
        && is_as_written(written, &path, &query)
    {
        return Ok((written.clone().into(), None));
    }
    let written = written.as_ref().and_then(|written| {
        let (prefix, rest) = split(written.path(), &script, &path)?;
        Some((prefix.to_owned(), rest.to_owned()))
    });
    let (prefix, rest) = written.unwrap_or_else(|| (percent_encode(&script, PATH).to_string(), percent_encode(&path, PATH).to_string()));
    let query = if query.is_empty() { String::new() } else { format!("?{}", percent_encode(&query, QUERY)) };
    let uri = |path: &str| {
        let slash = if path.starts_with('/') { "" } else { "/" };
        Uri::from_str(&format!("{slash}{path}{query}"))
            .map_err(|_| invalid(Variable::PathInfo, "is not a path, or is too long with the query"))
    };
    let below = uri(&rest)?;
    if prefix.is_empty() {
        return Ok((below, None));
    }
    let whole = uri(&format!("{prefix}{rest}"))?;
    Ok((below, Some(Mount { prefix: prefix.into(), target: whole })))
}

/// Whether the target is the one that the client sent, in its usual spelling: no other one is written then.
fn is_as_written(written: &PathAndQuery, path: &[u8], query: &[u8]) -> bool {
    written.path().starts_with('/')
        && percent_decode_str(written.path()).eq(path.iter().copied())
        && percent_encode(query, QUERY).eq(written.query())
}

/// The target that the client sent, if a layer has changed the path variables since.
fn original<S: VariableSource>(source: &S, target: &Uri) -> Result<Option<OriginalUri>, S::Error> {
    let is_target = |written: &[u8]| target.path_and_query().is_some_and(|target| target.as_str().as_bytes() == written);
    let written = source.get(Variable::RequestUri)?.filter(|written| written.starts_with(b"/") && !is_target(written));
    let changed = written.and_then(|written| PathAndQuery::try_from(&*written).ok());
    Ok(changed.map(|written| OriginalUri(written.into())))
}

/// Splits a path as the client wrote it after the part that decodes to `script`, if the rest decodes to `path`.
fn split<'a>(written: &'a str, script: &[u8], path: &[u8]) -> Option<(&'a str, &'a str)> {
    let decodes_to = |text: &str, octets: &[u8]| percent_decode_str(text).eq(octets.iter().copied());
    let mut at = 0;
    for _ in script {
        let is_encoded =
            matches!(written.as_bytes().get(at..at + 3), Some([b'%', high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
        at += if is_encoded { 3 } else { 1 };
    }
    let (prefix, rest) = (written.get(..at)?, written.get(at..)?);
    (decodes_to(prefix, script) && decodes_to(rest, path)).then_some((prefix, rest))
}

fn headers<S: VariableSource>(source: &S, parts: &mut Parts) -> Result<(), S::Error> {
    let headers = &mut parts.headers;
    headers.reserve(source.header_count());
    let mut spelled = Vec::with_capacity(32);
    source.headers(|variable, value| {
        let invalid = |reason| Invalid { variable: format!("HTTP_{}", String::from_utf8_lossy(variable)), reason };
        spelled.clear();
        spelled.extend(variable.iter().map(|octet| if *octet == b'_' { b'-' } else { *octet }));
        let name = HeaderName::from_bytes(&spelled).map_err(|_| invalid("is not the name of a header"))?;
        // A layer judges the claims of proxies.
        if has_variable(&name, true) {
            headers.insert(name, HeaderValue::from_bytes(value).map_err(|_| invalid("is not the value of a header"))?);
        }
        Ok(())
    })?;
    // Section 4.1.3: an empty value means no value. Some servers set an empty `CONTENT_LENGTH`, too.
    let get = |variable| Ok::<_, S::Error>(source.get(variable)?.filter(|value| !value.is_empty()));
    if let Some(value) = get(Variable::ContentType)? {
        let value = HeaderValue::from_bytes(&value).map_err(|_| invalid(Variable::ContentType, "is not the value of a header"))?;
        headers.insert(header::CONTENT_TYPE, value);
    }
    if let Some(value) = get(Variable::ContentLength)? {
        let length = std::str::from_utf8(&value).ok().map(str::trim).filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()));
        let length: u64 =
            length.and_then(|digits| digits.parse().ok()).ok_or_else(|| invalid(Variable::ContentLength, "is not a length"))?;
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(())
}

fn connection<S: VariableSource>(source: &S, is_vetted: bool) -> Result<ConnectionInfo, S::Error> {
    Ok(ConnectionInfo {
        client: parsed::<_, IpAddr>(source, Variable::RemoteAddr)?,
        client_port: parsed(source, Variable::RemotePort)?,
        scheme: if source.get(Variable::UrlScheme)?.as_deref() == Some(b"https") { Scheme::Https } else { Scheme::Http },
        server_port: parsed(source, Variable::ServerPort)?,
        local: None,
        is_vetted,
    })
}

/// The value, if it can be parsed.
fn parsed<S: VariableSource, T: FromStr>(source: &S, variable: Variable) -> Result<Option<T>, S::Error> {
    Ok(source.get(variable)?.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok()))
}

/// The value as text, if it is not empty.
fn text<S: VariableSource>(source: &S, variable: Variable) -> Result<Option<String>, S::Error> {
    let value = source.get(variable)?.filter(|value| !value.is_empty());
    Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
}

fn invalid(variable: Variable, reason: &'static str) -> Invalid {
    Invalid { variable: variable.name().to_owned(), reason }
}
