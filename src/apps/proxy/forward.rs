//! The headers that tell servers about the client (RFC 7239, and `X-Forwarded-*`).

use std::fmt::Write;
use std::net::IpAddr;

use http::header::{FORWARDED, HOST, HeaderMap, HeaderValue};
use http::request::Parts;
use ziggurat_middleware::ConnectionInfo;
use ziggurat_middleware::forwarded::tell;

use super::options::Forward;

/// Adds what is known about the client to headers without claims. `parts` are those of the client's request.
pub(super) fn apply(forward: Forward, parts: &Parts, headers: &mut HeaderMap) {
    match forward {
        Forward::XForwarded => tell(&parts.headers, &parts.extensions, headers),
        Forward::Forwarded => forwarded(parts, headers),
        Forward::None => {}
    }
}

fn forwarded(parts: &Parts, headers: &mut HeaderMap) {
    let mut text = String::new();
    if let Some(connection) = parts.extensions.get::<ConnectionInfo>() {
        // Writing into a string cannot fail.
        let _ = match connection.client {
            Some(IpAddr::V4(ip)) => write!(text, "for={ip};"),
            Some(IpAddr::V6(ip)) => write!(text, "for=\"[{ip}]\";"),
            None => write!(text, "for=unknown;"),
        };
        let _ = write!(text, "proto={}", connection.scheme.as_str());
    }
    if let Some(host) = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\'])) {
        let _ = write!(text, "{}host=\"{host}\"", if text.is_empty() { "" } else { ";" });
    }
    if let Ok(value) = HeaderValue::try_from(text)
        && !value.is_empty()
    {
        headers.insert(FORWARDED, value);
    }
}

#[cfg(test)]
mod tests {
    use ziggurat_middleware::{Body, Mount, request};

    use super::*;

    fn applied(forward: Forward, client: Option<IpAddr>) -> String {
        let mut request = request(http::Method::GET, "/", Body::empty());
        request.extensions_mut().get_mut::<ConnectionInfo>().unwrap().client = client;
        request.extensions_mut().insert(Mount { prefix: "/shop".into(), target: "/shop/".parse().unwrap() });
        let (parts, _) = request.into_parts();
        let mut headers = parts.headers.clone();
        apply(forward, &parts, &mut headers);
        let mut lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines.join("\n")
    }

    #[test]
    fn what_is_known_is_told_in_either_form() {
        insta::assert_snapshot!(applied(Forward::XForwarded, Some([192, 0, 2, 1].into())), @r"
        host: test
        x-forwarded-for: 192.0.2.1
        x-forwarded-host: test
        x-forwarded-prefix: /shop
        x-forwarded-proto: http
        ");
        insta::assert_snapshot!(applied(Forward::Forwarded, Some("2001:db8::1".parse().unwrap())), @r#"
        forwarded: for="[2001:db8::1]";proto=http;host="test"
        host: test
        "#);
        insta::assert_snapshot!(applied(Forward::Forwarded, None), @r#"
        forwarded: for=unknown;proto=http;host="test"
        host: test
        "#);
        insta::assert_snapshot!(applied(Forward::None, None), @"host: test");
    }
}
