//! Why a route does not take a request, in words.

use ziggurat_middleware::{ConnectionInfo, TlsInfo};

use super::{Key, RequestView};

impl RequestView<'_> {
    /// What the request has in place of what a key asks for.
    pub(crate) fn in_place_of(&self, key: Key<'_>) -> String {
        let request = self.request;
        let connection = request.extensions().get::<ConnectionInfo>();
        match key {
            Key::Mount | Key::Path => format!("the path is `{}`", request.uri().path()),
            Key::Host => match request.headers().get(http::header::HOST) {
                Some(host) => format!("the host is `{}`", String::from_utf8_lossy(host.as_bytes())),
                None => "there is no host".to_owned(),
            },
            Key::Method => format!("the method is {}", request.method()),
            Key::Scheme => format!("the scheme is {}", connection.map_or("not known", |connection| connection.scheme.as_str())),
            Key::Client => match connection.and_then(|connection| connection.client) {
                Some(client) => format!("the client is {client}"),
                None => "the client has no address".to_owned(),
            },
            Key::ClientCert => match request.extensions().get::<TlsInfo>().and_then(|tls| tls.client.as_ref()) {
                Some(client) => format!("the client's certificate is that of `{}`", client.subject),
                None => "the client has no certificate".to_owned(),
            },
            Key::Header(name) => {
                let is_there = request.headers().contains_key(name);
                match self.headers(name).next() {
                    Some(value) => format!("the header `{name}` is `{}`", String::from_utf8_lossy(value.as_bytes())),
                    None if is_there => format!("the header `{name}` is a claim that no `forwarded` layer has judged"),
                    None => format!("there is no header `{name}`"),
                }
            }
            Key::Cookie(name) => match self.cookies(name).next() {
                Some(value) => format!("the cookie `{name}` is `{}`", String::from_utf8_lossy(value)),
                None => format!("there is no cookie `{name}`"),
            },
            Key::Query(name) => match self.parameters(name).next() {
                Some(_) => format!("the parameter `{name}` has another value"),
                None => format!("there is no parameter `{name}`"),
            },
            Key::Not => "its `not` holds".to_owned(),
        }
    }
}
