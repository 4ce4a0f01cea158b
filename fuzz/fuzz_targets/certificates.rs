//! Files in PEM and certificates of clients, made up or with octets changed: what is read of them must not forge a line somewhere.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ziggurat::tls::FuzzCertificates;

static CERTIFICATES: LazyLock<FuzzCertificates> = LazyLock::new(FuzzCertificates::new);

fuzz_target!(|octets: &[u8]| CERTIFICATES.read(octets));
