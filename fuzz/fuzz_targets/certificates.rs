//! Files in PEM and certificates of clients, made up or with octets changed: what is read of them must not forge a line somewhere.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| ziggurat::tls::fuzz_certificates(octets));
