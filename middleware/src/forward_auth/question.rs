//! The request to the server that decides, made of the client's request.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, Method, Uri};
use sha2::{Digest, Sha256};

use crate::units::HeaderKey;
use crate::{Body, OriginalUri, Request, UnixSocket, forwarded, hop_by_hop};

/// Where questions go.
#[derive(Clone, Debug)]
pub(super) struct To {
    pub(super) uri: Uri,
    pub(super) socket: Option<UnixSocket>,
}

/// What a question says.
pub(super) struct Question {
    to: To,
    headers: HeaderMap,
}

impl Question {
    /// The question about a request with this head. `sent` are the headers of the client that go along; `None` for all. `pseudonym` is the name of the layer in `Via`.
    pub(super) fn new(
        to: &To,
        sent: Option<&[HeaderKey]>,
        pseudonym: &str,
        method: &Method,
        uri: &Uri,
        of: &HeaderMap,
        facts: &Extensions,
    ) -> Self {
        let mut headers = HeaderMap::with_capacity(of.len() + 8);
        let is_sent = |name: &HeaderName| sent.is_none_or(|sent| sent.iter().any(|key| key.0 == *name)) || *name == header::VIA;
        for (name, value) in of.iter().filter(|(name, _)| goes_along(name) && is_sent(name)) {
            headers.append(name.clone(), value.clone());
        }
        forwarded::tell(of, facts, &mut headers);
        // The target below is the whole one.
        headers.remove("x-forwarded-prefix");
        let target = OriginalUri::of(uri, facts);
        let target = target.path_and_query().map_or("/", |target| target.as_str());
        for (name, value) in [("x-forwarded-method", method.as_str()), ("x-forwarded-uri", target)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        if let Ok(via) = HeaderValue::try_from(format!("1.1 {pseudonym}")) {
            headers.append(header::VIA, via);
        }
        Self { to: to.clone(), headers }
    }

    /// What tells it from other questions: all that it says.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut add = |text: &[u8]| {
            digest.update(text.len().to_le_bytes());
            digest.update(text);
        };
        add(self.to.uri.to_string().as_bytes());
        for (name, value) in self.headers.iter().filter(|(name, _)| *name != header::VIA) {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
        digest.finalize().into()
    }

    /// The request: a GET without a body.
    pub(super) fn into_request(self) -> Request {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.to.uri;
        if let Some(socket) = self.to.socket {
            request.extensions_mut().insert(socket);
        }
        *request.headers_mut() = self.headers;
        request
    }
}

/// Whether a header of the client's request is about the client, and not about the body, the connection, or what the client has in its cache.
fn goes_along(name: &HeaderName) -> bool {
    let is_of_message = matches!(
        *name,
        header::HOST
            | header::CONTENT_LENGTH
            | header::CONTENT_TYPE
            | header::CONTENT_ENCODING
            | header::EXPECT
            | header::RANGE
            | header::IF_RANGE
            | header::IF_MATCH
            | header::IF_NONE_MATCH
            | header::IF_MODIFIED_SINCE
            | header::IF_UNMODIFIED_SINCE
    );
    hop_by_hop::goes_on(name, false) && !is_of_message
}

/// Whether `Via` names this layer: the server that is asked stands behind the layer.
pub(super) fn is_in_a_loop(headers: &HeaderMap, pseudonym: &str) -> bool {
    let lines = headers.get_all(header::VIA).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|hop| hop.trim().ends_with(pseudonym))
}
