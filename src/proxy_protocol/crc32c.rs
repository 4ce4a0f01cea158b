//! The checksum of a header, bit by bit: headers are short, and hardly any has one.

/// CRC-32C (RFC 3720 appendix B.4) of these octets, one piece after the other.
pub(super) fn crc32c<const N: usize>(pieces: [&[u8]; N]) -> u32 {
    !pieces
        .into_iter()
        .flatten()
        .fold(!0, |crc, octet| (0..8).fold(crc ^ u32::from(*octet), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720 appendix B.4.
    #[test]
    fn it_is_the_checksum_of_the_rfc() {
        assert_eq!(crc32c([&[0; 32]]).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(crc32c([&[0xff; 16], &[0xff; 16]]).to_le_bytes(), [0x43, 0xab, 0xa8, 0x62]);
        assert_eq!(crc32c([b"123456789"]), 0xe306_9283);
    }
}
