//! Apache's `$apr1$`: a thousand rounds of MD5 (`apr_md5_encode` of APR, after Poul-Henning Kamp's md5crypt).

use md5::{Digest, Md5};

const MAGIC: &[u8] = b"$apr1$";

/// The digest as it is written in the file: 22 characters.
pub(super) fn apr1(password: &[u8], salt: &[u8]) -> [u8; 22] {
    let inner = md5(&[password, salt, password]);
    let mut first = Md5::new();
    first.update([password, MAGIC, salt].concat());
    for chunk in password.chunks(inner.len()) {
        first.update(&inner[..chunk.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        first.update(if bits & 1 == 1 { &[0] } else { &password[..1] });
        bits >>= 1;
    }
    let mut digest: [u8; 16] = first.finalize().into();
    for round in 0..1000 {
        let odd = round % 2 == 1;
        digest = md5(&[
            if odd { password } else { &digest },
            if round % 3 == 0 { &[] } else { salt },
            if round % 7 == 0 { &[] } else { password },
            if odd { &digest } else { password },
        ]);
    }
    encode(&digest)
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// crypt(3)'s base 64, over the octets in an order of its own.
fn encode(digest: &[u8; 16]) -> [u8; 22] {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut text = [0; 22];
    let groups = ORDER.iter().map(|group| group.iter().fold(0, |bits, &at| bits << 8 | usize::from(digest[at])));
    for (out, mut bits) in text.chunks_mut(4).zip(groups.chain([usize::from(digest[11])])) {
        for character in out {
            *character = ALPHABET[bits & 63];
            bits >>= 6;
        }
    }
    text
}
