//! How clients learn of HTTP/3 (RFC 7838, RFC 9114 section 3.1.1).

use http::HeaderValue;

/// The `Alt-Svc` of responses to clients that could use HTTP/3 at the same host and port: the port that the client has named, because something may forward it to
/// another one here.
pub(super) fn alt_svc(host: Option<&HeaderValue>) -> Option<HeaderValue> {
    let host = host?.to_str().ok()?;
    let port = match host.rsplit_once(':') {
        Some((_, port)) if !port.contains(']') && !port.is_empty() => port,
        _ => "443",
    };
    // A day, which is what clients assume without `ma`.
    HeaderValue::try_from(format!("h3=\":{port}\"; ma=86400")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_one_that_the_client_has_named() {
        for (host, port) in [("a.test", "443"), ("a.test:8443", "8443"), ("[::1]", "443"), ("[::1]:80", "80"), ("a.test:", "443")] {
            let value = alt_svc(Some(&HeaderValue::from_static(host))).unwrap();
            assert_eq!(value, format!("h3=\":{port}\"; ma=86400"));
        }
    }
}
