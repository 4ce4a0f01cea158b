//! Where a stream of WebSocket frames stands (RFC 6455 section 5.2). Knows their lengths and opcodes only.

/// The longest head of a frame: two octets, a length of eight, a mask of four.
const LONGEST_HEAD: usize = 14;

const CLOSE: u8 = 8;

/// Follows frames in one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; LONGEST_HEAD],
    /// Octets of the head that are known.
    known: usize,
    /// Octets of the payload that are to come.
    left: u64,
    is_closed: bool,
}

impl Frames {
    /// Follows these octets.
    pub(super) fn follow(&mut self, mut octets: &[u8]) {
        while let Some((first, rest)) = octets.split_first() {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(octets.len());
                self.left -= count as u64;
                octets = &octets[count..];
                continue;
            }
            self.head[self.known] = *first;
            self.known += 1;
            octets = rest;
            if let Some(length) = self.payload() {
                self.is_closed |= self.head[0] & 0x0f == CLOSE;
                self.left = length;
                self.known = 0;
            }
        }
    }

    /// Whether a frame may follow: the last one is complete, and none was a Close frame.
    pub(super) const fn takes_another(&self) -> bool {
        self.known == 0 && self.left == 0 && !self.is_closed
    }

    /// The length of the payload, once the head is complete.
    fn payload(&self) -> Option<u64> {
        let second = *self.head[..self.known].get(1)?;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (length, octets) = match second & 0x7f {
            126 => (2, self.head.get(2..4)),
            127 => (8, self.head.get(2..10)),
            short => return (self.known == 2 + mask).then_some(short.into()),
        };
        let value = octets?.iter().fold(0, |value, octet| value << 8 | u64::from(*octet));
        (self.known == 2 + length + mask).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, length: usize, is_masked: bool) -> Vec<u8> {
        let mask = if is_masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            ..126 => frame.push(mask | length as u8),
            126..=0xffff => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![0x88; length + if is_masked { 4 } else { 0 }]);
        frame
    }

    proptest! {
        #[test]
        fn a_frame_may_follow_exactly_after_whole_frames(
            frames in prop::collection::vec((prop_oneof![Just(1_u8), Just(2), Just(9), Just(10)], prop_oneof![0..140_usize, 65_500..65_600_usize], any::<bool>()), 0..6),
            step in 1..3000_usize,
        ) {
            let (mut octets, mut ends) = (Vec::new(), vec![0]);
            for (opcode, length, is_masked) in frames {
                octets.extend(frame(opcode, length, is_masked));
                ends.push(octets.len());
            }
            let mut follower = Frames::default();
            let mut at = 0;
            for part in octets.chunks(step) {
                follower.follow(part);
                at += part.len();
                prop_assert_eq!(follower.takes_another(), ends.contains(&at));
            }
            follower.follow(&frame(CLOSE, 2, false));
            prop_assert!(!follower.takes_another());
        }
    }
}
