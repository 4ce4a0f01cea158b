//! The cookies of a request (RFC 6265 section 5.4).

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// All cookies, in the order in which they were sent.
pub(crate) fn all(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
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
