//! The pseudo-header fields of an encoded field section (RFC 9204 section 4.5), before h3 decodes it.
//!
//! h3 takes the last of repeated pseudo-header fields, takes them behind other fields, and takes `:status` in a request. What it hands out does not show that any more.

/// What makes a field section malformed (RFC 9114 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It cannot be decoded without a dynamic table, which this server does not allow.
    Encoding,
    /// A pseudo-header field occurs twice.
    Repeated,
    /// A pseudo-header field follows another field.
    Late,
    /// There is a pseudo-header field that requests do not have.
    Unexpected,
}

/// Pseudo-header fields of requests: the name, and the same in Huffman code (RFC 7541 appendix B), of which every string has one form.
const NAMES: [(&[u8], &[u8]); 5] = [
    (b":authority", b"\xb8\x3b\x53\x39\xec\x32\x7d\x7f"),
    (b":path", b"\xb9\x58\xd3\x3f"),
    (b":method", b"\xb9\x49\x53\x39\xe4"),
    (b":scheme", b"\xb8\x82\x4e\x5a\x4b"),
    (b":protocol", b"\xb9\x5d\x87\x49\xc8\x7a\x3f"),
];

const AUTHORITY: usize = 0;
const PATH: usize = 1;
const METHOD: usize = 2;
const SCHEME: usize = 3;

/// The last index of the static table (RFC 9204 appendix A).
const LAST_STATIC: u64 = 98;

/// The first octets of `:` in Huffman code: 7 bits.
const COLON: u8 = 0b1011_1000;

enum Name {
    /// A pseudo-header field of requests, as an index of [`NAMES`].
    Pseudo(usize),
    Field,
}

/// Checks the pseudo-header fields of a request's head. Whether those that have to be there are there is up to h3.
pub(super) fn check_head(section: &[u8]) -> Result<(), Malformed> {
    let mut seen = [false; NAMES.len()];
    let mut has_fields = false;
    each_name(section, |name| {
        match name {
            Name::Field => has_fields = true,
            Name::Pseudo(_) if has_fields => return Err(Malformed::Late),
            Name::Pseudo(number) if std::mem::replace(&mut seen[number], true) => return Err(Malformed::Repeated),
            Name::Pseudo(_) => {}
        }
        Ok(())
    })
}

/// Checks that trailers have no pseudo-header fields.
pub(super) fn check_trailers(section: &[u8]) -> Result<(), Malformed> {
    each_name(section, |name| match name {
        Name::Field => Ok(()),
        Name::Pseudo(_) => Err(Malformed::Unexpected),
    })
}

/// Calls `note` with the name of each field line.
fn each_name(section: &[u8], mut note: impl FnMut(Name) -> Result<(), Malformed>) -> Result<(), Malformed> {
    let mut reader = Reader(section);
    // Required Insert Count, and Base: both 0 without a dynamic table.
    if reader.integer(8)? != 0 {
        return Err(Malformed::Encoding);
    }
    reader.integer(7)?;
    while let Some(first) = reader.0.first() {
        let name = match first {
            // Indexed field line.
            0b1100_0000.. => of_static(reader.integer(6)?)?,
            // Literal field line with a name reference.
            0b0101_0000..=0b0101_1111 | 0b0111_0000..=0b0111_1111 => {
                let name = of_static(reader.integer(4)?)?;
                reader.string(7)?;
                name
            }
            // Literal field line with a literal name.
            0b0010_0000..=0b0011_1111 => {
                let (is_huffman, name) = reader.string(3)?;
                reader.string(7)?;
                of_literal(is_huffman, name)?
            }
            // All others refer to the dynamic table.
            _ => return Err(Malformed::Encoding),
        };
        note(name)?;
    }
    Ok(())
}

fn of_static(index: u64) -> Result<Name, Malformed> {
    match index {
        0 => Ok(Name::Pseudo(AUTHORITY)),
        1 => Ok(Name::Pseudo(PATH)),
        15..=21 => Ok(Name::Pseudo(METHOD)),
        22 | 23 => Ok(Name::Pseudo(SCHEME)),
        // `:status`.
        24..=28 | 63..=71 => Err(Malformed::Unexpected),
        _ if index > LAST_STATIC => Err(Malformed::Encoding),
        _ => Ok(Name::Field),
    }
}

fn of_literal(is_huffman: bool, name: &[u8]) -> Result<Name, Malformed> {
    let is_pseudo = match (is_huffman, name.first()) {
        (false, Some(first)) => *first == b':',
        (true, Some(first)) => first & 0b1111_1110 == COLON,
        (_, None) => false,
    };
    if !is_pseudo {
        return Ok(Name::Field);
    }
    let known = NAMES.iter().position(|(plain, huffman)| name == if is_huffman { *huffman } else { *plain });
    known.map(Name::Pseudo).ok_or(Malformed::Unexpected)
}

/// The rest of a field section.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn octet(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed::Encoding)?;
        self.0 = rest;
        Ok(*first)
    }

    /// An integer with a prefix of `bits` bits (RFC 7541 section 5.1).
    fn integer(&mut self, bits: u32) -> Result<u64, Malformed> {
        let mask = (1_u64 << bits) - 1;
        let mut value = u64::from(self.octet()?) & mask;
        if value < mask {
            return Ok(value);
        }
        // Longer than any section. h3 reads longer ones too.
        for shift in (0..28).step_by(7) {
            let octet = self.octet()?;
            value += u64::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Encoding)
    }

    /// A string whose length has a prefix of `bits` bits, and whether it is in Huffman code (RFC 7541 section 5.2).
    fn string(&mut self, bits: u32) -> Result<(bool, &'a [u8]), Malformed> {
        let is_huffman = self.0.first().is_some_and(|first| first & (1 << bits) != 0);
        let length = usize::try_from(self.integer(bits)?).map_err(|_| Malformed::Encoding)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Malformed::Encoding)?;
        self.0 = rest;
        Ok((is_huffman, string))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `:method: GET`, `:scheme: https`, `:path: /` and `:authority: a`.
    const HEAD: &[u8] = &[0, 0, 0xd1, 0xd7, 0xc1, 0x50, 1, b'a'];

    fn line(name: &[u8], is_huffman: bool, value: &[u8]) -> Vec<u8> {
        let flag = 0b0010_0000 | u8::from(is_huffman) << 3;
        let mut line = Vec::new();
        match name.len() {
            length @ ..7 => line.push(flag | length as u8),
            length => line.extend([flag | 7, (length - 7) as u8]),
        }
        line.extend(name);
        line.push(value.len() as u8);
        line.extend(value);
        line
    }

    fn with(lines: &[&[u8]]) -> Vec<u8> {
        [HEAD, &lines.concat()].concat()
    }

    #[test]
    fn a_head_has_each_pseudo_header_field_once_and_before_the_others() {
        assert_eq!(check_head(HEAD), Ok(()));
        assert_eq!(check_head(&with(&[&line(b"a", false, b"b"), &[0xd3, 0x51, 0]])), Err(Malformed::Late));
        for (plain, huffman) in NAMES {
            let again = if plain == b":protocol" { Ok(()) } else { Err(Malformed::Repeated) };
            assert_eq!(check_head(&with(&[&line(plain, false, b"x")])), again);
            assert_eq!(check_head(&with(&[&line(huffman, true, b"x")])), again);
            assert_eq!(check_head(&with(&[&line(b"a", false, b""), &line(huffman, true, b"x")])), Err(Malformed::Late));
        }
        // By reference to the static table, whole and for the name.
        assert_eq!(check_head(&with(&[&[0xc1]])), Err(Malformed::Repeated));
        assert_eq!(check_head(&with(&[&[0x51, 1, b'/']])), Err(Malformed::Repeated));
        assert_eq!(check_head(&with(&[&[0x5f, 0, 3, b'P', b'U', b'T']])), Err(Malformed::Repeated));
    }

    #[test]
    fn what_requests_do_not_have_is_unexpected() {
        const STATUS: &[u8] = b"\xb8\x84\x8d\x36\xa3";
        for lines in [&[0xd9][..], &line(b":status", false, b"200"), &line(STATUS, true, b"200"), &line(b":", false, b""), &[0xff, 0]] {
            assert_eq!(check_head(&with(&[lines])), Err(Malformed::Unexpected), "{lines:?}");
        }
        // A longer form of a name in Huffman code.
        assert_eq!(check_head(&with(&[&line(b"\xb9\x58\xd3\x3f\xff", true, b"/")])), Err(Malformed::Unexpected));
        assert_eq!(check_trailers(&[0, 0, 0xd1]), Err(Malformed::Unexpected));
        assert_eq!(check_trailers(&[&[0, 0][..], &line(b"a", false, b"b")].concat()), Ok(()));
    }

    #[test]
    fn references_to_the_dynamic_table_and_cut_sections_are_refused() {
        for section in [&[][..], &[0], &[1, 0], &[0, 0, 0x80], &[0, 0, 0x10], &[0, 0, 0x40, 0], &[0, 0, 0], &[0, 0, 0xff, 36]] {
            assert_eq!(check_head(section), Err(Malformed::Encoding), "{section:?}");
        }
        let whole = with(&[&line(b"name", false, b"value")]);
        for length in HEAD.len() + 1..whole.len() {
            assert_eq!(check_head(&whole[..length]), Err(Malformed::Encoding));
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_to_their_end_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            let (head, trailers) = (check_head(&octets), check_trailers(&octets));
            prop_assert!(trailers.is_err() || head.is_ok());
        }
    }
}
