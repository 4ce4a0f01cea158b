//! The prefix at which a proxy mounts the site: it has removed it from the path.

use http::Uri;
use http::uri::PathAndQuery;

use crate::Mount;

/// The longest prefix.
const LONGEST: usize = 1024;

/// A path without a slash at its end; empty for the root. `None` if it is invalid: apps put the prefix before the paths of their links, so it is strict.
pub(super) fn parse(octets: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(octets).ok()?;
    let prefix = text.strip_suffix('/').unwrap_or(text);
    let is_segment = |segment: &str| {
        let usual = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&octet);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(usual)
    };
    let sound = prefix.is_empty() || prefix.strip_prefix('/').is_some_and(|below| below.split('/').all(is_segment));
    (sound && text.starts_with('/') && text.len() <= LONGEST).then(|| prefix.to_owned())
}

/// The mount of a request to `uri` below this prefix.
pub(super) fn mount(uri: &Uri, prefix: String) -> Option<Mount> {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{prefix}{target}")).ok()?);
    Some(Mount { prefix: prefix.into(), target: Uri::from_parts(parts).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_path_and_nothing_else() {
        for (text, prefix) in [("/app", "/app"), ("/app/", "/app"), ("/a/b%20c", "/a/b%20c"), ("/", "")] {
            assert_eq!(parse(text.as_bytes()).as_deref(), Some(prefix), "{text}");
        }
        let long = format!("/{}", "a".repeat(LONGEST));
        for broken in [
            "",
            "app",
            "//evil.example",
            "/\\evil.example",
            "/a//b",
            "/a//",
            "/a/../b",
            "/.",
            "/a?b",
            "/a#b",
            "/a b",
            "/\u{e9}",
            "http://a",
            &long,
        ] {
            assert_eq!(parse(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn the_target_of_the_mount_has_the_prefix() {
        for (uri, target) in [("/x?y", "/app/x?y"), ("http://a/x", "http://a/app/x"), ("/", "/app/")] {
            assert_eq!(mount(&uri.parse().unwrap(), "/app".to_owned()).unwrap().target, *target);
        }
    }
}
