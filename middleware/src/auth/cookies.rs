//! The cookies of a request (RFC 6265 section 5.4).

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// All cookies that are text, in the order in which they were sent. Others beside them do no harm.
pub(crate) fn all(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|octet| *octet == b';'));
    pairs.filter_map(|pair| {
        let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        Some((name.trim(), value.trim()))
    })
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
    use super::*;

    #[test]
    fn a_cookie_is_read_and_removed_beside_others_that_are_no_text() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_bytes(b"theme=\xe4; id = a=b ;x; id2=c").unwrap());
        headers.append(COOKIE, HeaderValue::from_static("id=d"));
        assert_eq!(all(&headers).collect::<Vec<_>>(), [("id", "a=b"), ("id2", "c"), ("id", "d")]);
        remove(&mut headers, |name| name == "id");
        assert_eq!(headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>(), [b"theme=\xe4; x; id2=c"]);
    }
}
