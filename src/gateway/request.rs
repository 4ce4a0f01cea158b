//! The request that a front server describes by variables.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use http::Uri;
use http::header::{CONNECTION, EXPECT, HOST, HeaderValue};
use http::request::Parts;
use percent_encoding::percent_decode;
use ziggurat_middleware::{ConnectionInfo, Scheme};

use super::Variables;
use crate::cgi::{Invalid, Variable, VariableSource, joined, to_request};

/// Reads the head of a request. Its extensions are the facts that the variables contain, [`ConnectionInfo`] among them: what the front server says of
/// its client.
///
/// - Without `PATH_INFO`, `SCRIPT_NAME` is the path: nginx and Apache do not split a path unless they are told to. Without both, the path is that of
///   `REQUEST_URI`.
/// - The scheme is that of `HTTPS`, or else of `REQUEST_SCHEME`.
/// - Repeated headers are joined. A variable that would shadow another header is left out.
/// - Without `HTTP_HOST`, the host is `SERVER_NAME`.
///
/// # Errors
///
/// [`Invalid`] if the method or the path is missing, if a variable has a value that no request can have, or if `CONTENT_LENGTH` or `HTTP_HOST` stand
/// there twice.
pub(crate) fn read_request(variables: &Variables) -> Result<Parts, Invalid> {
    check(variables)?;
    let source = FrontVariables::new(variables)?;
    let mut parts = to_request(&source, false)?;
    if let Some(info) = parts.extensions.get_mut::<ConnectionInfo>() {
        let is_on_unix_socket = variables.get(Variable::RemoteAddr.name()).is_some_and(|address| address == b"unix:");
        if info.client.is_none() && !is_on_unix_socket {
            // An unknown client is not one on a Unix socket: those have no local address.
            info.local = Some((Ipv4Addr::UNSPECIFIED, info.server_port.unwrap_or_default()).into());
        }
    }
    if !parts.headers.contains_key(HOST)
        && let Some(host) = server_name(variables, source.scheme)
    {
        parts.headers.insert(HOST, host);
    }
    // Whoever receives `Connection` removes the headers that it names.
    if let Some(options) = variables.get("HTTP_CONNECTION").and_then(|options| HeaderValue::from_bytes(options).ok()) {
        parts.headers.insert(CONNECTION, options);
    }
    // The front server has answered it.
    parts.headers.remove(EXPECT);
    Ok(parts)
}

fn check(variables: &Variables) -> Result<(), Invalid> {
    let invalid = |name: &[u8], reason| Err(Invalid { variable: String::from_utf8_lossy(name).into_owned(), reason });
    for (name, value) in variables.iter() {
        if name.is_empty() || name.iter().any(|octet| octet.is_ascii_control() || *octet == b'=') {
            return invalid(name, "is not the name of a variable");
        }
        if value.contains(&0) {
            return invalid(name, "has a NUL");
        }
    }
    for name in [Variable::ContentLength, Variable::HttpHost].map(Variable::name) {
        if variables.iter().filter(|(known, _)| *known == name.as_bytes()).nth(1).is_some() {
            return invalid(name.as_bytes(), "stands there twice");
        }
    }
    for name in [Variable::RemoteUser, Variable::AuthType].map(Variable::name) {
        if variables.get(name).is_some_and(|value| value.iter().any(u8::is_ascii_control)) {
            return invalid(name.as_bytes(), "has a control character");
        }
    }
    match variables.get(Variable::RequestMethod.name()) {
        Some(method) if !method.is_empty() => Ok(()),
        _ => invalid(b"REQUEST_METHOD", "is missing"),
    }
}

/// The variables of a front server as those of a request.
struct FrontVariables<'a> {
    variables: &'a Variables,
    script_name: Cow<'a, [u8]>,
    path_info: Cow<'a, [u8]>,
    query: Cow<'a, [u8]>,
    /// Path and query, even if the client sent a URL.
    request_uri: Option<Cow<'a, [u8]>>,
    scheme: Scheme,
}

impl<'a> FrontVariables<'a> {
    fn new(variables: &'a Variables) -> Result<Self, Invalid> {
        let get = |variable: Variable| variables.get(variable.name());
        let request_uri = get(Variable::RequestUri).filter(|target| !target.is_empty()).map(path_and_query);
        let written = request_uri.as_deref().unwrap_or_default();
        let (written_path, written_query) = match memchr::memchr(b'?', written) {
            Some(mark) => (&written[..mark], &written[mark + 1..]),
            None => (written, &[][..]),
        };
        let borrowed = |value: &'a [u8]| Cow::Borrowed(value);
        let (script_name, path_info) = match (get(Variable::ScriptName), get(Variable::PathInfo)) {
            (script, Some(path)) => mount_and_path(script.unwrap_or_default(), path)?,
            (Some(script), None) if !script.is_empty() => (Cow::default(), borrowed(script)),
            _ if written.is_empty() => {
                return Err(Invalid { variable: "PATH_INFO".to_owned(), reason: "is missing, and so is `REQUEST_URI`" });
            }
            _ => (Cow::default(), Cow::Owned(percent_decode(written_path).collect())),
        };
        let query = get(Variable::QueryString).map_or_else(|| Cow::Owned(written_query.to_vec()), borrowed);
        let is_https = match get(Variable::Https).filter(|value| !value.is_empty()) {
            Some(value) => ["on", "1", "https"].iter().any(|on| value.eq_ignore_ascii_case(on.as_bytes())),
            None => variables.get("REQUEST_SCHEME").is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https")),
        };
        let scheme = if is_https { Scheme::Https } else { Scheme::Http };
        Ok(Self { variables, script_name, path_info, query, request_uri, scheme })
    }
}

/// A mount, and a path below it.
type MountAndPath<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Splits what the variables say into mount and path. A slash between them belongs to the path, whichever variable has it, and the root is no mount.
fn mount_and_path<'a>(script: &'a [u8], path: &'a [u8]) -> Result<MountAndPath<'a>, Invalid> {
    if script.first().is_some_and(|first| *first != b'/') {
        return Err(Invalid { variable: "SCRIPT_NAME".to_owned(), reason: "does not begin with a slash" });
    }
    let mount = &script[..script.iter().rposition(|octet| *octet != b'/').map_or(0, |last| last + 1)];
    let path = if mount.len() < script.len() && path.first() != Some(&b'/') { [b"/", path].concat().into() } else { Cow::Borrowed(path) };
    Ok((Cow::Borrowed(mount), path))
}

/// The target of a request without scheme and host.
fn path_and_query(target: &[u8]) -> Cow<'_, [u8]> {
    if target.starts_with(b"/") || target == b"*" {
        return Cow::Borrowed(target);
    }
    let uri = std::str::from_utf8(target).ok().and_then(|target| target.parse::<Uri>().ok());
    let path = uri.filter(|uri| uri.authority().is_some()).map(|uri| match uri.query() {
        Some(query) => format!("{}?{query}", uri.path()).into_bytes(),
        None => uri.path().to_owned().into_bytes(),
    });
    path.map_or(Cow::Borrowed(target), Cow::Owned)
}

/// The value of a `Host` header for the server that the front server names.
fn server_name(variables: &Variables, scheme: Scheme) -> Option<HeaderValue> {
    let get = |variable: Variable| Some(std::str::from_utf8(variables.get(variable.name())?).ok()?.trim()).filter(|text| !text.is_empty());
    let name = get(Variable::ServerName)?;
    match get(Variable::ServerPort).and_then(|port| port.parse::<u16>().ok()) {
        Some(port) if port != scheme.default_port() => HeaderValue::try_from(format!("{name}:{port}")).ok(),
        _ => HeaderValue::from_str(name).ok(),
    }
}

impl VariableSource for FrontVariables<'_> {
    type Error = Invalid;

    fn get(&self, variable: Variable) -> Result<Option<Cow<'_, [u8]>>, Invalid> {
        Ok(match variable {
            Variable::ScriptName => Some(Cow::Borrowed(&*self.script_name)),
            Variable::PathInfo => Some(Cow::Borrowed(&*self.path_info)),
            Variable::QueryString => Some(Cow::Borrowed(&*self.query)),
            Variable::RequestUri => self.request_uri.as_deref().map(Cow::Borrowed),
            Variable::UrlScheme => Some(Cow::Borrowed(self.scheme.as_str().as_bytes())),
            // Only WSGI has variables for them. The header of the id is among the headers.
            Variable::RequestId | Variable::WsgiLint => None,
            list if list.is_list() => joined(|number| Ok::<_, Invalid>(self.variables.get(&list.item_name(number)).map(Cow::Borrowed)))?,
            _ => self.variables.get(variable.name()).map(Cow::Borrowed),
        })
    }

    fn header_count(&self) -> usize {
        self.variables.iter().filter(|(name, _)| name.starts_with(b"HTTP_")).count()
    }

    fn headers(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Invalid>) -> Result<(), Invalid> {
        let mut joined: Vec<(&[u8], Cow<'_, [u8]>)> = Vec::with_capacity(16);
        for (name, value) in self.variables.iter() {
            // In the name of a header, a hyphen is an underscore here. A hyphen would make the same header.
            let Some(name) = name.strip_prefix(b"HTTP_").filter(|name| !name.contains(&b'-')) else { continue };
            match joined.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                Some((_, values)) => {
                    let values = values.to_mut();
                    values.extend_from_slice(if name.eq_ignore_ascii_case(b"COOKIE") { b"; " } else { b", " });
                    values.extend_from_slice(value);
                }
                None => joined.push((name, Cow::Borrowed(value))),
            }
        }
        joined.iter().try_for_each(|(name, value)| each(name, value))
    }
}
