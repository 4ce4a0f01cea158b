//! The cookies of a request (RFC 6265 section 5.4), for every layer and app that reads them.
//!
//! Names and values are octets: browsers send what a script has set as UTF-8, and one cookie that is no text hides no other.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The names and values of all cookies, in the order in which they were sent.
///
/// ```
/// use ziggurat_middleware::cookies;
/// use ziggurat_middleware::http::{HeaderMap, HeaderValue, header::COOKIE};
///
/// let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes("theme=ä; id=7".as_bytes())?)]);
/// assert_eq!(cookies::all(&headers).nth(1), Some((&b"id"[..], &b"7"[..])));
/// assert_eq!(cookies::first(&headers, "id"), Some(&b"7"[..]));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn all(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|octet| *octet == b';'));
    pairs.filter_map(|pair| {
        let equals = pair.iter().position(|octet| *octet == b'=')?;
        Some((pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii()))
    })
}

/// The values of the cookies with this name.
pub fn named<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    all(headers).filter(move |(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
}

/// The value of the first cookie with this name.
#[must_use]
pub fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    named(headers, name).next()
}

/// Removes the cookies with these names, for the layers below and the app. The others stay as they are.
pub(crate) fn remove(headers: &mut HeaderMap, is_removed: impl Fn(&str) -> bool) {
    let is_kept = |pair: &&[u8]| !is_removed(name(pair));
    if headers.get_all(COOKIE).iter().all(|line| line.as_bytes().split(|octet| *octet == b';').all(|pair| is_kept(&pair))) {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for line in lines {
        let kept: Vec<&[u8]> = line.as_bytes().split(|octet| *octet == b';').filter(is_kept).map(<[u8]>::trim_ascii).collect();
        // A part of a value is a value.
        if let Ok(line) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
            && !line.is_empty()
        {
            headers.append(COOKIE, line);
        }
    }
}

fn name(pair: &[u8]) -> &str {
    let name = pair.split(|octet| *octet == b'=').next().unwrap_or_default();
    std::str::from_utf8(name.trim_ascii()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cookie_is_read_and_removed_beside_others_that_are_no_text() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_bytes(b"theme=\xe4; id = a=b ;x; id2=c").unwrap());
        headers.append(COOKIE, HeaderValue::from_static("id=d"));
        let read: Vec<_> = all(&headers).collect();
        assert_eq!(read, [(&b"theme"[..], &b"\xe4"[..]), (b"id", b"a=b"), (b"id2", b"c"), (b"id", b"d")]);
        assert_eq!((first(&headers, "id"), first(&headers, "x")), (Some(&b"a=b"[..]), None));
        remove(&mut headers, |name| name == "id");
        assert_eq!(headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>(), [b"theme=\xe4; x; id2=c"]);
    }

    proptest! {
        /// Whatever stands before and behind it.
        #[test]
        fn a_cookie_is_found_beside_any_others(before in proptest::collection::vec(0x20_u8..=0xff, 0..40), after in proptest::collection::vec(0x20_u8..=0xff, 0..40)) {
            let line: Vec<u8> = [&before[..], b"; sid=7;", &after[..]].concat().into_iter().filter(|octet| *octet != 0x7f).collect();
            let mut headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes(&line).unwrap())]);
            prop_assert!(named(&headers, "sid").any(|value| value == b"7"));
            remove(&mut headers, |name| name == "sid");
            prop_assert_eq!(first(&headers, "sid"), None);
        }
    }
}
