//! Octets as a worker might send them to the front: frames or none, whatever way they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| ziggurat::fuzz::reports(octets));
