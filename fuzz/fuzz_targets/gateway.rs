//! Octets as FastCGI, SCGI and uwsgi and as the head of a CGI response, in pieces whose size is the first octet: what is read must not depend on the cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| ziggurat::fuzz_gateway(octets));
