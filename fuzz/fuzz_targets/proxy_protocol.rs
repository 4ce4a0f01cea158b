//! Octets at the beginning of a connection, cut where the first octet says: whether they are a PROXY protocol header must not depend on the cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| ziggurat::fuzz_proxy_protocol(octets));
