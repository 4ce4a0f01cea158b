//! The body of a response (RFC 9112 section 6.3), read again from its first octet whenever more has come.

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Bodiless,
    Length(usize),
    Chunked,
    /// With the connection.
    Close,
}

/// What the octets that have come are of a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) body: Vec<u8>,
    /// How many octets the whole body takes, framing included.
    pub(super) whole: Option<usize>,
}

/// Decodes what has come. An error is framing that no recipient could follow.
pub(super) fn decode(framing: Framing, octets: &[u8]) -> Result<Decoded, String> {
    match framing {
        Framing::Bodiless => Ok(Decoded { body: Vec::new(), whole: Some(0) }),
        Framing::Close => Ok(Decoded { body: octets.to_vec(), whole: None }),
        Framing::Length(length) => {
            let body = octets.get(..length).unwrap_or(octets).to_vec();
            Ok(Decoded { whole: (body.len() == length).then_some(length), body })
        }
        Framing::Chunked => chunked(octets),
    }
}

fn chunked(octets: &[u8]) -> Result<Decoded, String> {
    let mut decoded = Decoded::default();
    let mut rest = octets;
    loop {
        let Some((line, behind)) = line(rest)? else { return Ok(decoded) };
        let size = line.split(|octet| *octet == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).ok().filter(|size| !size.is_empty() && size.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok()).ok_or("the size of a chunk is not a number")?;
        if size == 0 {
            return trailers(octets.len(), behind, decoded);
        }
        let data = behind.get(..size).unwrap_or(behind);
        decoded.body.extend_from_slice(data);
        rest = behind.get(data.len()..).unwrap_or_default();
        if data.len() < size || rest.len() < 2 {
            return Ok(decoded);
        }
        rest = rest.strip_prefix(b"\r\n").ok_or("a chunk is longer than its size")?;
    }
}

fn trailers(all: usize, mut rest: &[u8], mut decoded: Decoded) -> Result<Decoded, String> {
    while let Some((line, behind)) = line(rest)? {
        rest = behind;
        if line.is_empty() {
            decoded.whole = Some(all - rest.len());
            break;
        }
    }
    Ok(decoded)
}

/// A line and what is behind it.
type Line<'a> = (&'a [u8], &'a [u8]);

/// The first line, if it is whole.
fn line(octets: &[u8]) -> Result<Option<Line<'_>>, String> {
    let Some(end) = memchr::memchr(b'\n', octets) else {
        return if octets.len() > 4096 { Err("a line of the chunked body is endless".to_owned()) } else { Ok(None) };
    };
    let (line, behind) = octets.split_at(end + 1);
    let line = line.strip_suffix(b"\r\n").ok_or("a line of the chunked body ends in LF alone")?;
    Ok(Some((line, behind)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chunked_body_is_whole_with_the_empty_line_behind_its_last_chunk() {
        let octets = b"3;x=1\r\nabc\r\n1\r\nd\r\n0\r\nX: 1\r\n\r\nnext";
        for length in 0..octets.len() - 4 {
            let decoded = decode(Framing::Chunked, &octets[..length]).unwrap();
            assert!(decoded.whole.is_none() && b"abcd".starts_with(&decoded.body), "{length}");
        }
        assert_eq!(decode(Framing::Chunked, octets).unwrap(), Decoded { body: b"abcd".to_vec(), whole: Some(octets.len() - 4) });
    }

    #[test]
    fn wrong_chunks_are_errors() {
        for octets in [&b"x\r\n"[..], b"\r\n", b"3\nabc", b"3\r\nabcd\r\n", b"+3\r\nabc\r\n", b"fffffffffffffffff\r\n"] {
            assert!(decode(Framing::Chunked, octets).is_err(), "{}", octets.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn whatever_a_server_sends_is_decoded_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200), length in 0_usize..100) {
            for framing in [Framing::Bodiless, Framing::Length(length), Framing::Chunked, Framing::Close] {
                if let Ok(decoded) = decode(framing, &octets) {
                    prop_assert!(decoded.body.len() <= octets.len() && decoded.whole.is_none_or(|whole| whole <= octets.len()));
                }
            }
        }
    }
}
