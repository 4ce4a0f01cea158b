//! The numbers of calls as keys.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Things of calls, by the call's number.
pub(crate) type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<Spread>>;

/// Spreads numbers that count up over all bits. They are given by this program, so nobody can choose them to collide.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.write_u64(self.0 ^ u64::from(*octet));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio in 64 bits, as Knuth proposes (The Art of Computer Programming, section 6.4).
        self.0 = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
