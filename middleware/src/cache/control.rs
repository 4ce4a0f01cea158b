//! `Cache-Control` of requests and responses (RFC 9111 section 5.2), and `CDN-Cache-Control` of responses (RFC 9213).

use std::time::Duration;

use http::HeaderMap;
use http::header::CACHE_CONTROL;

use super::targeted::targeted;

/// The longest time that counts (RFC 9111 section 1.2.2): 68 years.
pub(super) const LONGEST: u64 = 1 << 31;

/// What a client asks of caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestControl {
    pub(super) no_cache: bool,
    pub(super) no_store: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) min_fresh: Option<Duration>,
    /// How stale a response may be; the longest time if the client does not say.
    pub(super) max_stale: Option<Duration>,
}

impl RequestControl {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        for (name, argument) in directives(headers) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            match () {
                () if is("no-cache") => control.no_cache = true,
                () if is("no-store") => control.no_store = true,
                () if is("only-if-cached") => control.only_if_cached = true,
                () if is("max-age") => lower(&mut control.max_age, seconds(argument)),
                () if is("min-fresh") => control.min_fresh = control.min_fresh.max(seconds(argument)),
                () if is("max-stale") && argument.is_none() => lower(&mut control.max_stale, Some(Duration::from_secs(LONGEST))),
                () if is("max-stale") => lower(&mut control.max_stale, seconds(argument)),
                () => {}
            }
        }
        control
    }

    /// Whether the client asks for nothing in particular, so that any response will do that a shared cache may send.
    pub(super) fn is_plain(&self) -> bool {
        *self == Self { no_store: self.no_store, ..Self::default() }
    }
}

/// What an app permits caches to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ResponseControl {
    /// It is for shared caches alone, and stands in place of `Cache-Control` and `Expires` (RFC 9213 section 2.2).
    pub(super) is_targeted: bool,
    /// Also with names of headers, which RFC 9111 section 5.2.2.4 lets a cache treat as without.
    pub(super) no_cache: bool,
    pub(super) no_store: bool,
    /// Also with names of headers, as for `no_cache`.
    pub(super) private: bool,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    pub(super) must_understand: bool,
    /// Zero if the argument is invalid (RFC 9111 section 4.2.1).
    pub(super) max_age: Option<Duration>,
    /// As `max_age`.
    pub(super) s_maxage: Option<Duration>,
    pub(super) stale_while_revalidate: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
}

impl ResponseControl {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if let Some(directives) = targeted(headers) {
            let mut control = Self { is_targeted: true, ..Self::default() };
            for (name, time) in directives {
                control.set(name.as_bytes(), time);
            }
            return control;
        }
        let mut control = Self::default();
        for (name, argument) in directives(headers) {
            control.set(name, seconds(argument));
        }
        control
    }

    /// Adds a directive with its argument as a time, if it is one.
    fn set(&mut self, name: &[u8], time: Option<Duration>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let time = Some(time.unwrap_or_default());
        match () {
            () if is("no-cache") => self.no_cache = true,
            () if is("no-store") => self.no_store = true,
            () if is("private") => self.private = true,
            () if is("public") => self.public = true,
            () if is("must-revalidate") => self.must_revalidate = true,
            () if is("proxy-revalidate") => self.proxy_revalidate = true,
            () if is("must-understand") => self.must_understand = true,
            () if is("max-age") => lower(&mut self.max_age, time),
            () if is("s-maxage") => lower(&mut self.s_maxage, time),
            () if is("stale-while-revalidate") => lower(&mut self.stale_while_revalidate, time),
            () if is("stale-if-error") => lower(&mut self.stale_if_error, time),
            () => {}
        }
    }
}

/// Of a directive that is stated more than once, the most restrictive time counts.
fn lower(slot: &mut Option<Duration>, time: Option<Duration>) {
    *slot = match (*slot, time) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
}

/// Digits only; a number that does not fit is the longest time.
fn seconds(argument: Option<&[u8]>) -> Option<Duration> {
    let digits = argument.filter(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))?;
    let number = digits.iter().fold(0_u64, |sum, digit| (sum * 10 + u64::from(digit - b'0')).min(LONGEST));
    Some(Duration::from_secs(number))
}

/// The directives of all lines, with their arguments, which may be quoted.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    headers.get_all(CACHE_CONTROL).iter().flat_map(|line| members(line.as_bytes())).map(|member| {
        let Some(equals) = memchr::memchr(b'=', member) else { return (member, None) };
        let (name, argument) = (member[..equals].trim_ascii(), &member[equals + 1..]);
        let unquoted = argument.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        (name, Some(unquoted.unwrap_or(argument)))
    })
}

/// The members of a list, without those that are empty. A comma in a quoted string does not separate.
pub(super) fn members(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = std::iter::from_fn(move || {
        if list.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = list.iter().position(|octet| {
            match octet {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' if !quoted => return true,
                _ => {}
            }
            false
        });
        let (member, rest) = list.split_at(end.unwrap_or(list.len()));
        list = rest.get(1..).unwrap_or_default();
        Some(member.trim_ascii())
    });
    parts.filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        lines.iter().map(|line| (CACHE_CONTROL, HeaderValue::from_bytes(line).unwrap())).collect()
    }

    fn max_age(line: &str) -> Option<u64> {
        ResponseControl::of(&headers(&[line.as_bytes()])).max_age.map(|time| time.as_secs())
    }

    #[test]
    fn times_are_digits_and_the_lowest_counts() {
        let cases = [
            ("max-age=3600", Some(3600)),
            ("MaX-aGe=3600", Some(3600)),
            ("max-age=\"3600\"", Some(3600)),
            ("max-age=0003600", Some(3600)),
            ("max-age=1800, max-age=1", Some(1)),
            ("max-age=1, max-age=1800", Some(1)),
            ("max-age=99999999999999999999999999999", Some(LONGEST)),
            ("max-age=-1", Some(0)),
            ("max-age=3600.0", Some(0)),
            ("max-age='3600'", Some(0)),
            ("max-age=a100", Some(0)),
            ("max-age=100a", Some(0)),
            ("max-age= 100", Some(0)),
            ("max-age=", Some(0)),
            ("max-age", Some(0)),
            ("x=\"max-age=3600\"", None),
            ("x=\"a, max-age=3600\", max-age=1", Some(1)),
            ("x=\"\\\", max-age=3600\", max-age=1", Some(1)),
            ("x=\"open, max-age=3600", None),
            ("x-max-age=3600", None),
            (" , ,max-age=3600,", Some(3600)),
        ];
        for (line, expected) in cases {
            assert_eq!(max_age(line), expected, "{line}");
        }
    }

    #[test]
    fn a_client_that_does_not_say_how_stale_takes_any() {
        let control = RequestControl::of(&headers(&[b"max-stale, Only-If-Cached", b"min-fresh=5"]));
        assert_eq!((control.max_stale, control.min_fresh), (Some(Duration::from_secs(LONGEST)), Some(Duration::from_secs(5))));
        assert!(control.only_if_cached && !control.is_plain());
        assert!(RequestControl::of(&headers(&[b"no-store, x"])).is_plain());
    }

    #[test]
    fn names_of_headers_do_not_weaken_a_directive() {
        let control = ResponseControl::of(&headers(&[b"private=\"set-cookie\", no-cache=\"a, b\"", b"public"]));
        assert!(control.private && control.no_cache && control.public);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(line in prop::collection::vec(prop::sample::select(b"max-age=\"\\, 0195no-store\x80\t;".to_vec()), 0..60)) {
            let headers = headers(&[&line]);
            prop_assert!(ResponseControl::of(&headers).max_age.is_none_or(|time| time.as_secs() <= LONGEST));
            RequestControl::of(&headers);
        }

        #[test]
        fn members_are_the_parts_between_commas_where_nothing_is_quoted(parts in prop::collection::vec("[a-z=0-9-]{1,8}", 0..6)) {
            let line = parts.join(" ,");
            prop_assert_eq!(members(line.as_bytes()).map(<[u8]>::to_vec).collect::<Vec<_>>(), parts.iter().map(|part| part.clone().into_bytes()).collect::<Vec<_>>());
        }
    }
}
