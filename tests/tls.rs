//! The server over TLS, with the TLS clients of rustls, OpenSSL and curl.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "tls/authority.rs"]
mod authority;

#[path = "tls/support.rs"]
mod support;

#[path = "tls/handshakes.rs"]
mod handshakes;

#[path = "tls/names.rs"]
mod names;

#[path = "tls/clear_text.rs"]
mod clear_text;

#[path = "tls/sessions.rs"]
mod sessions;
