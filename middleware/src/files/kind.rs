//! What the name of a file tells: its media type, and whether it contains a hash of the content.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use http::HeaderValue;

/// The `Content-Type` for a file of this name. Text is taken to be UTF-8.
pub(crate) fn media_type(name: &[u8]) -> HeaderValue {
    let extension = Path::new(OsStr::from_bytes(name)).extension().and_then(OsStr::to_str);
    let essence = extension.and_then(|extension| mime_guess::from_ext(extension).first_raw()).unwrap_or("application/octet-stream");
    // RFC 9239 has retired the other name.
    let essence = if essence == "application/javascript" { "text/javascript" } else { essence };
    let text = essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("+json")
        || matches!(essence, "application/json" | "application/xml");
    if text { HeaderValue::try_from(format!("{essence}; charset=utf-8")) } else { Ok(HeaderValue::from_static(essence)) }
        .unwrap_or(const { HeaderValue::from_static("application/octet-stream") })
}

/// Whether a part of the name (between dots and hyphens) is a hash, as bundlers and Django's `ManifestStaticFilesStorage` write it.
pub(crate) fn is_hashed(name: &[u8]) -> bool {
    let base = name.rsplit(|octet| *octet == b'/').next().unwrap_or_default();
    let Some(dot) = memchr::memrchr(b'.', base) else { return false };
    base[..dot].split(|octet| *octet == b'.').any(|part| {
        let last = part.rsplit(|octet| *octet == b'-').next().unwrap_or_default();
        is_hex_hash(last) || (last.len() < part.len() && is_base64_hash(last))
    })
}

/// As many lower-case hexadecimal digits as tools write, with letters and figures, because `20261122` is a date and `deadbeef` a name.
fn is_hex_hash(part: &[u8]) -> bool {
    matches!(part.len(), 8 | 10 | 12 | 16 | 20 | 32 | 40 | 64)
        && part.iter().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
        && part.iter().any(u8::is_ascii_digit)
        && part.iter().any(u8::is_ascii_alphabetic)
}

/// Vite's and Rollup's `name-Bx3kQ9_a.js`: eight characters of base64url with figures and letters of both cases.
fn is_base64_hash(part: &[u8]) -> bool {
    part.len() == 8
        && part.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'_')
        && part.iter().any(u8::is_ascii_digit)
        && part.iter().any(u8::is_ascii_uppercase)
        && part.iter().any(u8::is_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_content_hash_are_known() {
        for name in [
            "css/base.0123456789ab.css",
            "main.1a2b3c4d.js",
            "main.1a2b3c4d.js.map",
            "2.1a2b3c4d.chunk.js",
            "1a2b3c4d5e6f7a8b9c0d.js",
            "index-4f5e6d7c.css",
            "index-Bx3kQ9_a.js",
            "a/b-c.0123456789ab.woff2",
        ] {
            assert!(is_hashed(name.as_bytes()), "{name}");
        }
        for name in [
            "base.css",
            "0123456789ab/base.css",
            "0123456789ab",
            "jquery-3.7.1.min.js",
            "report-20261122.pdf",
            "report.20261122.pdf",
            "deadbeef.js",
            "name.1a2b3c4.js",
            "name.1A2B3C4D.js",
            "my-calendar.js",
            "my-Calendar.js",
            "base.0123456789ab",
            "order-1a2b3c4d5.js",
            "1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5.png",
        ] {
            assert!(!is_hashed(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn media_types_follow_the_extension() {
        for (name, expected) in [
            ("a.css", "text/css; charset=utf-8"),
            ("a.HTML", "text/html; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.json", "application/json; charset=utf-8"),
            ("a.svg", "image/svg+xml; charset=utf-8"),
            ("a.webmanifest", "application/manifest+json; charset=utf-8"),
            ("a.wasm", "application/wasm"),
            ("a.woff2", "font/woff2"),
            ("a.png", "image/png"),
            ("a.css.gz", "application/gzip"),
            ("a.unheard-of", "application/octet-stream"),
            ("README", "application/octet-stream"),
            ("a.\u{e9}", "application/octet-stream"),
            (".css", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name.as_bytes()), expected, "{name}");
        }
    }
}
