//! A path without its percent-encoding, and where its octets stand in what the client wrote.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::percent_decode_str;

/// A path without its percent-encoding.
#[derive(Clone, Debug)]
pub struct DecodedPath<'a> {
    written: &'a str,
    octets: Cow<'a, [u8]>,
}

impl<'a> DecodedPath<'a> {
    /// Decodes what stands in a request target. It allocates only where something is encoded.
    #[must_use]
    pub fn new(written: &'a str) -> Self {
        Self { written, octets: percent_decode_str(written).into() }
    }

    /// The path without percent-encoding.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The path as the client wrote it.
    #[must_use]
    pub const fn as_written(&self) -> &'a str {
        self.written
    }

    /// What the client wrote for these octets. `None` where they begin or end inside of a character.
    #[must_use]
    pub fn written(&self, octets: Range<usize>) -> Option<&'a str> {
        if matches!(self.octets, Cow::Borrowed(_)) {
            return self.written.get(octets);
        }
        let start = length_of(self.written.as_bytes(), octets.start);
        let length = length_of(&self.written.as_bytes()[start..], octets.len());
        self.written.get(start..start + length)
    }

    /// Whether a segment is `.` or `..`; a backslash separates segments for some readers.
    #[must_use]
    pub fn has_dot_segment(&self) -> bool {
        self.octets.split(|octet| matches!(octet, b'/' | b'\\')).any(|segment| matches!(segment, b"." | b".."))
    }
}

/// How many octets are written for the first `count` ones.
fn length_of(written: &[u8], count: usize) -> usize {
    let mut at = 0;
    for _ in 0..count {
        let is_encoded = matches!(written.get(at..at + 3), Some([b'%', high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
        at += if is_encoded { 3 } else { 1 };
    }
    at.min(written.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn octets_are_found_in_what_the_client_wrote() {
        let path = DecodedPath::new("/%61b%2Fc%zz/é");
        assert_eq!(path.octets(), "/ab/c%zz/é".as_bytes());
        assert_eq!(path.written(0..2), Some("/%61"));
        assert_eq!(path.written(2..5), Some("b%2Fc"));
        assert_eq!(path.written(5..11), Some("%zz/é"));
        assert_eq!(path.written(9..10), None);
    }

    proptest! {
        #[test]
        fn the_written_parts_make_up_the_path(written in r"(/|%2F|%41|%e9|%|a|é){0,12}", cuts in any::<[prop::sample::Index; 2]>()) {
            let path = DecodedPath::new(&written);
            let mut cuts = cuts.map(|cut| cut.index(path.octets().len() + 1));
            cuts.sort_unstable();
            let parts = [path.written(0..cuts[0]), path.written(cuts[0]..cuts[1]), path.written(cuts[1]..path.octets().len())];
            if let [Some(a), Some(b), Some(c)] = parts {
                prop_assert_eq!(format!("{a}{b}{c}"), &*written);
                prop_assert_eq!(&*Cow::from(percent_decode_str(b)), &path.octets()[cuts[0]..cuts[1]]);
            }
        }
    }
}
