//! The server over TLS, with the TLS clients of rustls, OpenSSL and curl.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod authority;
mod clear_text;
mod clients;
mod explained;
mod files;
mod handshakes;
mod http3;
mod http3_client;
mod http3_ends;
mod http3_hostile;
#[path = "../proxy/log.rs"]
mod log;
mod mistakes;
mod names;
mod no_verification;
mod proxy_protocol;
mod sessions;
mod streams;
mod support;
mod tools;
mod versions;
