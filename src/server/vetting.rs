//! What the server makes of a request before the stack sees it, without a connection: for explaining.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use ziggurat_middleware::Problem;

use super::Options;
use super::http1::Head;
use super::limits::Limits;
use super::normalize::normalize;
use super::refusal::Refusal;
use super::service::MISDIRECTED;
use super::upgrade::offered;

/// Gives the head of a request its normal form, as if it had come over HTTP/1.1. `may_upgrade` says whether its connection may change to another protocol, and `is_misdirected` whether a
/// request for a host belongs on another connection.
///
/// # Errors
///
/// How the server refuses it.
pub(crate) fn vet(
    parts: &mut Parts,
    options: &Options,
    may_upgrade: bool,
    is_misdirected: impl FnOnce(&str) -> bool,
) -> Result<(), Problem> {
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
    let states_body =
        parts.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0") || parts.headers.contains_key(TRANSFER_ENCODING);
    if let Some(upgrade) = offered(&parts.headers, states_body).filter(|_| may_upgrade) {
        parts.extensions.insert(upgrade);
    }
    normalize(parts, limits.headers).map_err(refuse)?;
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_misdirected) { Err(refuse(MISDIRECTED)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use ziggurat_middleware::Upgrade;

    use super::*;

    /// The protocols that layers are told of.
    fn offered_by(headers: &[(&str, &str)]) -> Option<Vec<String>> {
        let mut request = http::Request::get("/").header("host", "example.com");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        vet(&mut parts, &Options::default(), true, |_| false).unwrap();
        parts.extensions.get::<Upgrade>().map(|upgrade| upgrade.protocols().map(str::to_owned).collect())
    }

    #[test]
    fn a_handshake_is_an_upgrade_as_on_a_connection() {
        let (connection, upgrade) = (("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"));
        assert_eq!(offered_by(&[connection, upgrade]), Some(vec!["websocket".to_owned()]));
        assert_eq!(offered_by(&[connection, upgrade, ("content-length", "0")]), Some(vec!["websocket".to_owned()]));
        assert_eq!(offered_by(&[upgrade]), None);
        assert_eq!(offered_by(&[connection, upgrade, ("content-length", "1")]), None);
    }
}
