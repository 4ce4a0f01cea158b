//! The key of a WebSocket's opening handshake (RFC 6455 section 4): the client chooses one, and the response derives a value from it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha1::{Digest, Sha1};

/// A new `Sec-WebSocket-Key`.
pub(crate) fn generate() -> HeaderValue {
    text(&STANDARD.encode(fastrand::u128(..).to_be_bytes()))
}

/// The `Sec-WebSocket-Accept` that answers a key (section 4.2.2).
pub(crate) fn accept(key: &HeaderValue) -> HeaderValue {
    let hash = Sha1::new().chain_update(key.as_bytes()).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    text(&STANDARD.encode(hash))
}

/// Base64 is made of visible characters only.
fn text(base64: &str) -> HeaderValue {
    HeaderValue::from_str(base64).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_that_of_the_rfc_and_keys_differ() {
        assert_eq!(accept(&HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==")), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_ne!(generate(), generate());
        assert_eq!(generate().len(), 24);
    }
}
