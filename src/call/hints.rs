//! Hints (103) of an app on their way to the client.

use std::sync::Arc;

use http::HeaderMap;
use ziggurat_middleware::EarlyHints;

use super::encoded_head::EncodedHead;
use super::responder::RemoteResponder;

/// Sends the hints of one call.
#[derive(Clone)]
pub(crate) enum HintSender {
    /// To the server, in this process.
    Here(EarlyHints),
    /// To another process.
    Remote(Arc<dyn RemoteResponder>),
}

impl HintSender {
    /// Sends a hint. Never blocks; what is too much is dropped.
    pub(crate) fn send(&self, head: EncodedHead) {
        match self {
            Self::Here(hints) => hints.send(&head.decode().headers),
            Self::Remote(remote) if head.size() <= EarlyHints::MOST_OCTETS => remote.hint(&head),
            Self::Remote(_) => {}
        }
    }

    /// Sends a hint that another process has sent. Calls that came from another process are never forwarded.
    pub(crate) fn forward(&self, fields: &HeaderMap) {
        if let Self::Here(hints) = self {
            hints.send(fields);
        }
    }
}
