//! The frames of HTTP/2 as they pass, for what h2 does not tell (RFC 9113 section 4.1).

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;

/// The flag of the last frame of a request or a response.
pub(crate) const END_STREAM: u8 = 1;

const HEADER_SIZE: usize = 9;

/// Finds the frame headers in one direction of a connection, however they are cut.
pub(crate) struct FrameHeaders {
    /// Octets to skip before the next one.
    skip: usize,
    header: [u8; HEADER_SIZE],
    filled: usize,
}

/// What a frame header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHeaders {
    /// Begins behind so many octets.
    pub(crate) const fn after(skip: usize) -> Self {
        Self { skip, header: [0; HEADER_SIZE], filled: 0 }
    }

    /// Reads up to the end of the next frame header. Returns the header and the number of octets that were read; without a header, these are all.
    pub(crate) fn next(&mut self, octets: &[u8]) -> (Option<FrameHeader>, usize) {
        let skipped = self.skip.min(octets.len());
        self.skip -= skipped;
        let taken = (HEADER_SIZE - self.filled).min(octets.len() - skipped);
        let end = skipped + taken;
        self.header[self.filled..self.filled + taken].copy_from_slice(&octets[skipped..end]);
        self.filled += taken;
        if self.filled < HEADER_SIZE {
            return (None, end);
        }
        self.filled = 0;
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        (Some(FrameHeader { length: self.skip, kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1) }), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let octets = [&[9; 5][..], &[0, 0, 2, DATA, END_STREAM, 0x80, 0, 1, 3, 7, 7], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        for size in 1..=octets.len() {
            let (mut headers, mut found) = (FrameHeaders::after(5), Vec::new());
            for mut piece in octets.chunks(size) {
                while !piece.is_empty() {
                    let (header, read) = headers.next(piece);
                    found.extend(header);
                    piece = &piece[read..];
                }
            }
            let settings = FrameHeader { length: 0, kind: 4, flags: 0, stream: 0 };
            assert_eq!(found, [FrameHeader { length: 2, kind: DATA, flags: END_STREAM, stream: 0x103 }, settings], "{size}");
        }
    }
}
