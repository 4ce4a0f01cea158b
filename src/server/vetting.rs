//! What the server makes of a request before the stack sees it, without a connection: for explaining.

use http::header::HOST;
use http::request::Parts;
use ziggurat_middleware::Problem;

use super::Options;
use super::http1::Head;
use super::limits::Limits;
use super::normalize::normalize;
use super::refusal::Refusal;
use super::service::MISDIRECTED;

/// Gives the head of a request its normal form, as if it had come over HTTP/1.1. `is_misdirected` says whether a request for a host belongs on another connection.
///
/// # Errors
///
/// How the server refuses it.
pub(crate) fn vet(parts: &mut Parts, options: &Options, is_misdirected: impl FnOnce(&str) -> bool) -> Result<(), Problem> {
    let limits = Limits::from(options);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut octets = format!("{} {target} HTTP/1.1\r\n", parts.method).into_bytes();
    for (name, value) in &parts.headers {
        octets.extend_from_slice(name.as_str().as_bytes());
        octets.extend_from_slice(b": ");
        octets.extend_from_slice(value.as_bytes());
        octets.extend_from_slice(b"\r\n");
    }
    octets.extend_from_slice(b"\r\n");
    let refuse = |refusal: Refusal| Problem::new(refusal.status).detail(refusal.reason);
    Head::default().read(&octets, &limits).map_err(refuse)?;
    normalize(parts, limits.headers).map_err(refuse)?;
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_misdirected) { Err(refuse(MISDIRECTED)) } else { Ok(()) }
}
