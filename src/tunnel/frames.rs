//! Where a stream of WebSocket frames stands (RFC 6455 section 5.2). Knows their lengths and opcodes, and the status codes of Close frames.

/// The longest head of a frame: two octets, a length of eight, a mask of four.
const LONGEST_HEAD: usize = 14;

const CLOSE: u8 = 8;

/// The status code of a Close frame without one (section 7.1.5).
const NO_STATUS: u16 = 1005;

/// Follows frames in one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    head: [u8; LONGEST_HEAD],
    /// Octets of the head that are known.
    known: usize,
    /// Octets of the payload that are to come.
    left: u64,
    close: Option<Close>,
}

/// The Close frame.
#[derive(Clone, Debug)]
struct Close {
    mask: [u8; 4],
    /// The first two octets of its payload are the status code. So many are known.
    known: usize,
    code: u16,
}

impl Frames {
    /// Follows these octets.
    pub(super) fn follow(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            octets = &octets[self.step(octets)..];
        }
    }

    /// How many of these octets belong to the frame that has begun.
    pub(super) fn rest_of_frame(&self, octets: &[u8]) -> usize {
        let (mut ahead, mut at) = (self.clone(), 0);
        while at < octets.len() && !ahead.is_between() {
            at += ahead.step(&octets[at..]);
        }
        at
    }

    /// Whether the last frame is complete.
    pub(super) const fn is_between(&self) -> bool {
        self.known == 0 && self.left == 0
    }

    /// Whether a Close frame was the last one, and is complete.
    pub(super) const fn is_closed(&self) -> bool {
        self.close.is_some() && self.is_between()
    }

    /// Whether a frame may follow: the last one is complete, and none was a Close frame.
    pub(super) const fn takes_another(&self) -> bool {
        self.close.is_none() && self.is_between()
    }

    /// The status code of the Close frame, once it is known.
    pub(super) fn close_code(&self) -> Option<u16> {
        let close = self.close.as_ref()?;
        match close.known {
            2 => Some(close.code),
            _ if self.is_between() => Some(NO_STATUS),
            _ => None,
        }
    }

    /// Follows one part of a frame: what is there of the payload, or one octet of the head. Returns its size.
    fn step(&mut self, octets: &[u8]) -> usize {
        if self.left > 0 {
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(octets.len());
            if let Some(close) = &mut self.close {
                close.read(&octets[..count]);
            }
            self.left -= count as u64;
            return count;
        }
        self.head[self.known] = octets[0];
        self.known += 1;
        if let Some(length) = self.payload() {
            if self.head[0] & 0x0f == CLOSE && self.close.is_none() {
                self.close = Some(Close { mask: self.mask(), known: 0, code: 0 });
            }
            self.left = length;
            self.known = 0;
        }
        1
    }

    /// The mask in a complete head. Zeros change nothing.
    fn mask(&self) -> [u8; 4] {
        let is_masked = self.head[1] & 0x80 != 0;
        let octets = self.head[..self.known].last_chunk().filter(|_| is_masked);
        octets.copied().unwrap_or_default()
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

impl Close {
    fn read(&mut self, payload: &[u8]) {
        for octet in payload.iter().take(2 - self.known) {
            self.code = self.code << 8 | u16::from(octet ^ self.mask[self.known]);
            self.known += 1;
        }
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
                let end = ends.iter().find(|end| **end >= at).unwrap();
                prop_assert_eq!(follower.rest_of_frame(&octets[at..]), end - at);
            }
            follower.follow(&frame(CLOSE, 2, false));
            prop_assert!(!follower.takes_another() && follower.is_closed());
        }

        #[test]
        fn the_code_of_a_close_frame_is_read_through_its_mask_however_it_is_cut(code: u16, mask: Option<[u8; 4]>, reason in 0..100_u8, step in 1..8_usize) {
            let mut octets = vec![0x88, (reason + 2) | if mask.is_some() { 0x80 } else { 0 }];
            octets.extend(mask.into_iter().flatten());
            let key = mask.unwrap_or_default();
            octets.extend(code.to_be_bytes().iter().enumerate().map(|(at, octet)| octet ^ key[at]));
            octets.extend(vec![b'x'; reason.into()]);
            let mut follower = Frames::default();
            for part in octets.chunks(step) {
                prop_assert!(follower.close_code().is_none_or(|seen| seen == code));
                follower.follow(part);
            }
            prop_assert_eq!((follower.close_code(), follower.is_closed()), (Some(code), true));
        }
    }

    #[test]
    fn a_close_frame_without_a_code_has_that_of_none() {
        let mut follower = Frames::default();
        follower.follow(&[0x88, 0x80, 1, 2, 3]);
        assert_eq!(follower.close_code(), None);
        follower.follow(&[4]);
        assert_eq!(follower.close_code(), Some(NO_STATUS));
    }
}
