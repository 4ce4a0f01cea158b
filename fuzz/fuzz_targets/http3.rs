//! Octets of a stream of HTTP/3, cut where the first octet says: what of them reaches h3 must not depend on the cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| ziggurat::server::fuzz_frames(octets));
