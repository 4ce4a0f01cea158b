//! The `Range` header (RFC 9110 section 14.2).

use std::ops::Range;

use http::HeaderMap;
use http::header::RANGE;

/// The most parts of a response. A request for more gets the whole file, as RFC 9110 section 17.15 recommends.
const MOST: usize = 16;

/// The parts of a file that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestedRanges {
    /// The whole file: there is no range, or it is ignored because it is invalid, overlaps itself or has too many parts.
    Whole,
    /// These parts, in the order of the request. There is at least one, and none is empty.
    Parts(Vec<Range<u64>>),
    /// The file has none of the parts: 416.
    Unsatisfiable,
}

impl RequestedRanges {
    /// Reads the header, for a file of `len` octets.
    pub(crate) fn of(headers: &HeaderMap, len: u64) -> Self {
        let mut lines = headers.get_all(RANGE).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_str().ok().and_then(|text| parse(text, len)).unwrap_or(Self::Whole),
            _ => Self::Whole,
        }
    }
}

/// `None` if the syntax is invalid, the unit is unknown or there are too many parts.
fn parse(text: &str, len: u64) -> Option<RequestedRanges> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut parts = Vec::new();
    let mut specs = 0;
    for spec in set.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        specs += 1;
        if specs > MOST {
            return None;
        }
        let (first, last) = spec.split_once('-')?;
        let part = match (first, last) {
            ("", suffix) => len.saturating_sub(number(suffix)?)..len,
            (first, "") => number(first)?..len,
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return None;
                }
                first..last.saturating_add(1).min(len)
            }
        };
        if part.start < part.end {
            parts.push(part);
        } else if len == 0 && first.is_empty() && last.bytes().any(|digit| digit != b'0') {
            // The last octets of an empty file are all of it, and no Content-Range can say so.
            return Some(RequestedRanges::Whole);
        }
    }
    if specs == 0 || overlap(&parts) {
        return None;
    }
    Some(if parts.is_empty() { RequestedRanges::Unsatisfiable } else { RequestedRanges::Parts(parts) })
}

/// Digits only. A number that does not fit is larger than any file.
fn number(digits: &str) -> Option<u64> {
    (!digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().unwrap_or(u64::MAX))
}

fn overlap(parts: &[Range<u64>]) -> bool {
    let mut sorted: Vec<_> = parts.iter().collect();
    sorted.sort_by_key(|part| part.start);
    sorted.windows(2).any(|pair| pair[0].end > pair[1].start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_grammar_says() {
        use RequestedRanges::{Unsatisfiable, Whole};
        let parts = |parts: &[(u64, u64)]| RequestedRanges::Parts(parts.iter().map(|&(start, end)| start..end).collect());
        let cases = [
            ("bytes=0-4", parts(&[(0, 5)])),
            ("bytes=0-0", parts(&[(0, 1)])),
            ("bytes=5-", parts(&[(5, 10)])),
            ("bytes=-3", parts(&[(7, 10)])),
            ("bytes=-30", parts(&[(0, 10)])),
            ("bytes=9-99999999999999999999999", parts(&[(9, 10)])),
            ("Bytes=0-4", parts(&[(0, 5)])),
            ("bytes= 0-1 , 4-5,", parts(&[(0, 2), (4, 6)])),
            ("bytes=4-5,0-1", parts(&[(4, 6), (0, 2)])),
            ("bytes=0-1,20-30", parts(&[(0, 2)])),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-20", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=4-3", Whole),
            ("bytes=0-5,3-8", Whole),
            ("bytes=", Whole),
            ("bytes=,", Whole),
            ("bytes", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=-", Whole),
            ("bytes=1", Whole),
            ("bytes=--1", Whole),
            ("lines=0-4", Whole),
            ("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,20-,20-,20-,20-,20-,20-,20-,20-", Whole),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, 10).unwrap_or(Whole), expected, "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), Some(Unsatisfiable));
        assert_eq!(parse("bytes=-5", 0), Some(Whole));
        assert_eq!(parse("bytes=-0", 0), Some(Unsatisfiable));
    }

    proptest! {
        #[test]
        fn parts_lie_within_the_file_and_add_up_to_no_more(text in "bytes=[0-9,-]{0,24}", len in 0..40u64) {
            if let Some(RequestedRanges::Parts(parts)) = parse(&text, len) {
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= len));
                prop_assert!(parts.iter().map(|part| part.end - part.start).sum::<u64>() <= len);
            }
        }
    }
}
