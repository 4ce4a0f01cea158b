//! Content codings, and which ones a client accepts (RFC 9110 section 12.5.3).

use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Digests of the uncompressed octets (RFC 9530, RFC 3230, RFC 2616).
pub(crate) const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// Zstandard (RFC 8878): the fastest at the same size.
    Zstd,
    /// Brotli (RFC 7932): the smallest text.
    Br,
    /// gzip (RFC 1952): every client accepts it.
    Gzip,
}

impl Encoding {
    /// All of them, the best first.
    pub(crate) const ALL: [Self; 3] = [Self::Zstd, Self::Br, Self::Gzip];

    pub(crate) const fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }

    pub(crate) const fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.token())
    }

    /// The coding with this name, in any case (RFC 9110 section 8.4.1).
    pub(crate) fn named(token: &str) -> Option<Self> {
        let is = |name: &str| token.eq_ignore_ascii_case(name);
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("br") => Some(Self::Br),
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }
}

/// The weight that a client gives to each coding, in thousandths; 0 is a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    weights: [u16; Encoding::ALL.len()],
    identity: u16,
}

impl Accepted {
    /// Reads `Accept-Encoding`. Without it, nothing is encoded. Invalid parts are ignored.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut stated = [None; Encoding::ALL.len()];
        let (mut identity, mut any) = (None, None);
        for line in headers.get_all(ACCEPT_ENCODING) {
            for part in line.to_str().unwrap_or_default().split(',') {
                let (token, parameters) = part.split_once(';').unwrap_or((part, ""));
                let (token, Some(weight)) = (token.trim(), weight(parameters.trim())) else { continue };
                if let Some(encoding) = Encoding::named(token) {
                    stated[encoding as usize] = Some(weight);
                } else if token == "*" {
                    any = Some(weight);
                } else if token.eq_ignore_ascii_case("identity") {
                    identity = Some(weight);
                }
            }
        }
        Self { weights: stated.map(|weight| weight.or(any).unwrap_or(0)), identity: identity.unwrap_or(0) }
    }

    /// The codings of `offered` that the client accepts, the highest weight first, and in the order of `offered` for equal weights. A coding with a lower
    /// weight than `identity` is left out.
    pub(crate) fn ranked(self, offered: &[Encoding]) -> impl Iterator<Item = Encoding> + use<> {
        let mut list = [None; Encoding::ALL.len()];
        for (slot, encoding) in list.iter_mut().zip(offered) {
            let weight = self.weights[*encoding as usize];
            *slot = (weight > 0 && weight >= self.identity).then_some((weight, *encoding));
        }
        list.sort_by_key(|slot| std::cmp::Reverse(slot.map_or(0, |(weight, _)| weight)));
        list.into_iter().flatten().map(|(_, encoding)| encoding)
    }
}

/// `q=0.5` as 500; no parameter as 1000; `None` if it is invalid (RFC 9110 section 12.4.2).
pub(crate) fn weight(parameters: &str) -> Option<u16> {
    if parameters.is_empty() {
        return Some(1000);
    }
    let (name, value) = parameters.split_once('=')?;
    let (whole, fraction) = value.trim_start().split_once('.').unwrap_or((value.trim_start(), ""));
    if !name.trim_end().eq_ignore_ascii_case("q") || fraction.len() > 3 || !fraction.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction.bytes().chain(std::iter::repeat(b'0')).take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranked(accept: &str, offered: &[Encoding]) -> Vec<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(accept).unwrap());
        Accepted::of(&headers).ranked(offered).map(Encoding::token).collect()
    }

    #[test]
    fn weights_come_first_and_our_order_breaks_ties() {
        let cases: &[(&str, &[&str])] = &[
            ("gzip, br, zstd", &["zstd", "br", "gzip"]),
            ("gzip;q=1.0, br;q=0.9, zstd;q=0.1", &["gzip", "br", "zstd"]),
            ("br;q=0, *", &["zstd", "gzip"]),
            ("*;q=0", &[]),
            ("*;q=0, gzip", &["gzip"]),
            ("identity;q=0", &[]),
            ("identity, gzip;q=0.5", &[]),
            ("GZIP ; Q=0.001", &["gzip"]),
            ("x-gzip", &["gzip"]),
            ("gzip;q=2, br;q=0.1234, zstd;q=x", &[]),
            ("gzip;level=3", &[]),
            ("gzip;q=", &[]),
            ("deflate, compress", &[]),
            ("", &[]),
            (",;,= ,gzip,,", &["gzip"]),
        ];
        for (accept, expected) in cases {
            assert_eq!(&ranked(accept, &Encoding::ALL), expected, "{accept}");
        }
        assert_eq!(ranked("br, gzip", &[Encoding::Gzip, Encoding::Br]), ["gzip", "br"]);
    }

    #[test]
    fn without_the_header_nothing_is_encoded() {
        assert_eq!(Accepted::of(&HeaderMap::new()).ranked(&Encoding::ALL).count(), 0);
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(text in "[ -~]{0,60}") {
            ranked(&text, &Encoding::ALL);
        }
    }
}
