//! Octets as a client may send them, cut where the first octet says: the verdict on them must not depend on the cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| ziggurat::server::fuzz_framing(octets));
