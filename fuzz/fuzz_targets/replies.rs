//! Octets as a Redis might reply, cut where the first one says: what is read must not depend on the cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| ziggurat::store::fuzz_replies(octets));
