//! What a mount makes of a request: the path without the prefix, and the prefix as a fact.

use http::Uri;
use http::uri::PathAndQuery;
use ziggurat_middleware::Mount;
use ziggurat_middleware::path::DecodedPath;

use crate::apps::matching::Prefix;

/// Moves `prefix` from the path of `uri` to a [`Mount`], below the one that is there already.
///
/// The path that is left begins with `/`: a URI cannot have an empty one. A client that asked for the mount point without a slash at its end is
/// recognized by the fact: its `target` is then its `prefix`.
pub(super) fn mounted(uri: &Uri, outer: Option<&Mount>, prefix: &Prefix) -> Option<(Uri, Mount)> {
    let taken = DecodedPath::new(uri.path()).written(0..prefix.as_str().len())?;
    let rest = &uri.path()[taken.len()..];
    // The slash after the prefix may itself be percent-encoded.
    let below = match rest.get(..3) {
        Some(slash) if slash.eq_ignore_ascii_case("%2f") => &rest[3..],
        _ => rest.strip_prefix('/').unwrap_or(rest),
    };
    let path = match uri.query() {
        Some(query) => format!("/{below}?{query}"),
        None => format!("/{below}"),
    };
    let mount = match outer {
        Some(outer) => Mount { prefix: format!("{}{taken}", outer.prefix).into(), target: outer.target.clone() },
        None => Mount { prefix: taken.into(), target: uri.clone() },
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Some((Uri::from_parts(parts).ok()?, mount))
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    /// The path that is left and the mount's prefix.
    fn entered(target: &str, prefix: &str) -> (String, String) {
        let (uri, mount) = mounted(&target.parse().unwrap(), None, &prefix.parse().unwrap()).unwrap();
        assert_eq!(mount.target, *target);
        (uri.to_string(), mount.prefix.to_string())
    }

    #[test]
    fn a_mount_moves_its_prefix_as_the_client_wrote_it() {
        for (target, left, prefix) in [
            ("/blog", "/", "/blog"),
            ("/blog/", "/", "/blog"),
            ("/blog/x?y=/blog", "/x?y=/blog", "/blog"),
            ("/blog?y", "/?y", "/blog"),
            ("/%62log/%78", "/%78", "/%62log"),
            ("/blog%2Fx", "/x", "/blog"),
            ("/blog%2f", "/", "/blog"),
            ("/blog//x", "//x", "/blog"),
            ("http://h/blog/x", "http://h/x", "/blog"),
        ] {
            assert_eq!(entered(target, "/blog"), (left.to_owned(), prefix.to_owned()), "{target}");
        }
    }

    #[test]
    fn mounts_add_up() {
        let (uri, outer) = mounted(&"/a/b/c".parse().unwrap(), None, &"/a".parse().unwrap()).unwrap();
        let (uri, mount) = mounted(&uri, Some(&outer), &"/b".parse().unwrap()).unwrap();
        assert_eq!((&*mount.prefix, mount.target.path(), uri.path()), ("/a/b", "/a/b/c", "/c"));
    }

    proptest! {
        /// What WSGI calls SCRIPT_NAME and PATH_INFO is the decoded path, cut after the prefix, however the client encoded it.
        #[test]
        fn prefix_and_rest_make_up_the_path(octets in proptest::collection::vec((any::<u8>(), any::<bool>()), 0..12), encode in any::<[bool; 2]>()) {
            let mut target = String::from(if encode[0] { "/%61" } else { "/a" });
            if !octets.is_empty() {
                target.push_str(if encode[1] { "%2f" } else { "/" });
            }
            for (octet, encoded) in octets {
                if encoded || !octet.is_ascii_alphanumeric() {
                    target.push_str(&format!("%{octet:02X}"));
                } else {
                    target.push(octet.into());
                }
            }
            let (left, prefix) = entered(&target, "/a");
            let whole: Vec<u8> = percent_decode_str(&target).collect();
            let mut joined: Vec<u8> = percent_decode_str(&prefix).chain(percent_decode_str(&left)).collect();
            if whole.len() == 2 {
                prop_assert_eq!(joined.pop(), Some(b'/'));
            }
            prop_assert_eq!(joined, whole);
        }
    }
}
