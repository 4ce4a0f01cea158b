//! The headers that tell another server about the client: `X-Forwarded-*`.

use http::header::HOST;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use crate::{ConnectionInfo, Mount};

/// Adds what is known about the client of a request to the headers of another request, which has no claims yet ([`is_claim`](super::is_claim)). The headers and the extensions are those of the client's request.
pub fn tell(of: &HeaderMap, facts: &Extensions, headers: &mut HeaderMap) {
    let mut set = |name: &'static str, value: HeaderValue| headers.insert(HeaderName::from_static(name), value);
    if let Some(connection) = facts.get::<ConnectionInfo>() {
        if let Some(client) = connection.client
            && let Ok(value) = HeaderValue::try_from(client.to_string())
        {
            set("x-forwarded-for", value);
        }
        set("x-forwarded-proto", HeaderValue::from_static(connection.scheme.as_str()));
        if let Some(port) = connection.server_port {
            set("x-forwarded-port", port.into());
        }
    }
    if let Some(host) = of.get(HOST) {
        set("x-forwarded-host", host.clone());
    }
    if let Some(mount) = facts.get::<Mount>()
        && let Ok(value) = HeaderValue::from_str(&mount.prefix)
    {
        set("x-forwarded-prefix", value);
    }
}
