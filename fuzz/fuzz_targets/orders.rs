//! Octets as a front might send them to a worker: frames or none, whatever way they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| ziggurat::fuzz::orders(octets));
