//! The program with certificates from Pebble, the test authority of Let's Encrypt.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../black_box/support.rs"]
#[allow(dead_code)]
mod black_box;

mod certificates;
mod failures;
#[path = "../tls/no_verification.rs"]
mod no_verification;
mod pebble;
mod site;
