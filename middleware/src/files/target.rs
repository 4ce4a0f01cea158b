//! From a path in a request, or from an app, to a name below the root.
//!
//! The rules are strict: a path that could be read in two ways names no file.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// What a path names below the root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The decoded name, in the file system's own octets, without a slash at either end; empty for the root itself.
    pub(crate) name: Vec<u8>,
    /// Whether the path ends in a slash, which names a folder.
    pub(crate) folder: bool,
}

/// Why a path names no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// It does not lie below the prefix.
    Elsewhere,
    /// It has an empty segment, `.` or `..`.
    Segment,
    /// A name begins with a dot.
    Hidden,
    /// It has an encoded slash, a backslash, NUL or a broken escape.
    Octets,
}

impl Unnamed {
    /// For the log, as a part of a sentence.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Elsewhere => "the path lies elsewhere (option `at`)",
            Self::Segment => "the path has an empty segment, `.` or `..`",
            Self::Hidden => "a name in the path begins with a dot (option `dotfiles`)",
            Self::Octets => "the path has an encoded slash, a backslash, NUL or a broken escape",
        }
    }
}

/// Reads `path`, which must be `prefix` itself or lie below it.
pub(crate) fn target(path: &[u8], prefix: &[u8], dotfiles: bool) -> Result<Target, Unnamed> {
    let below = path.strip_prefix(prefix).ok_or(Unnamed::Elsewhere)?;
    if below.is_empty() {
        return Ok(Target { name: Vec::new(), folder: false });
    }
    let below = below.strip_prefix(b"/").ok_or(Unnamed::Elsewhere)?;
    let (below, folder) = match below.strip_suffix(b"/") {
        Some(below) => (below, true),
        None => (below, below.is_empty()),
    };
    let mut name = Vec::with_capacity(below.len());
    if below.is_empty() {
        // Only the root has an empty name; `//` is an empty segment.
        return if path.len() - prefix.len() == 1 { Ok(Target { name, folder }) } else { Err(Unnamed::Segment) };
    }
    for segment in below.split(|octet| *octet == b'/') {
        if !name.is_empty() {
            name.push(b'/');
        }
        let start = name.len();
        decode(segment, &mut name).ok_or(Unnamed::Octets)?;
        let segment = &name[start..];
        if segment.is_empty() || segment == b"." || segment == b".." {
            return Err(Unnamed::Segment);
        }
        if segment.first() == Some(&b'.') && !dotfiles {
            return Err(Unnamed::Hidden);
        }
    }
    Ok(Target { name, folder })
}

/// The part of an absolute path below `folder`, percent-encoded: empty, or with a leading slash. `None` if the path is not below it.
pub(crate) fn below<'a>(path: &'a [u8], folder: &Path) -> Option<&'a [u8]> {
    let mut rest = path;
    for component in folder.components() {
        let expected = match component {
            Component::Normal(expected) => expected,
            Component::RootDir | Component::CurDir => continue,
            Component::ParentDir | Component::Prefix(_) => return None,
        };
        let segment = rest.strip_prefix(b"/")?;
        let end = memchr::memchr(b'/', segment).unwrap_or(segment.len());
        let mut name = Vec::with_capacity(end);
        decode(&segment[..end], &mut name)?;
        if name != expected.as_bytes() {
            return None;
        }
        rest = &segment[end..];
    }
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

/// Decodes one segment, once. `None` for a broken escape, an encoded separator, a backslash or a NUL.
fn decode(segment: &[u8], name: &mut Vec<u8>) -> Option<()> {
    let mut octets = segment.iter();
    while let Some(&octet) = octets.next() {
        let octet = match octet {
            b'%' => hex(*octets.next()?)? << 4 | hex(*octets.next()?)?,
            _ => octet,
        };
        if matches!(octet, 0 | b'/' | b'\\') {
            return None;
        }
        name.push(octet);
    }
    Some(())
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(path: &str) -> Option<String> {
        target(path.as_bytes(), b"/static", false)
            .ok()
            .map(|target| String::from_utf8_lossy(&target.name).into_owned() + if target.folder { "/" } else { "" })
    }

    #[test]
    fn names_are_decoded_once() {
        let cases = [
            ("/static/a.css", Some("a.css")),
            ("/static/a%20b/c%2541", Some("a b/c%41")),
            ("/static/a/", Some("a/")),
            ("/static", Some("")),
            ("/static/", Some("/")),
            ("/static//", None),
            ("/static///", None),
            ("/static//a", None),
            ("/static/a//", None),
            ("/static/a//b", None),
            ("/staticx/a", None),
            ("/other", None),
            ("*", None),
        ];
        for (path, expected) in cases {
            assert_eq!(name(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_that_names_no_file_has_a_reason() {
        for (path, why) in [
            ("/staticx/a", Unnamed::Elsewhere),
            ("/static/a//b", Unnamed::Segment),
            ("/static/%2e%2e/b", Unnamed::Segment),
            ("/static/.git/config", Unnamed::Hidden),
            ("/static/a%2fb", Unnamed::Octets),
            ("/static/a%zz", Unnamed::Octets),
        ] {
            assert_eq!(target(path.as_bytes(), b"/static", false), Err(why), "{path}");
        }
    }

    #[test]
    fn what_lies_below_a_folder_stays_encoded() {
        let cases = [
            ("/srv/a b/c%20d", "/srv/a b", Some("/c%20d")),
            ("/srv/a%20b/c", "/srv/a b", Some("/c")),
            ("/srv/a%20b", "/srv/a b", Some("")),
            ("/srv/ab", "/srv/a", None),
            ("/srv", "/srv/a", None),
            ("/srv/b/../a/c", "/srv/a", None),
            ("//srv/a/c", "/srv/a", None),
            ("srv/a/c", "/srv/a", None),
            ("srv/a/c", "/", None),
            ("/srv/a/c", "/srv/b/../a", None),
            ("/srv/a", "/", Some("/srv/a")),
        ];
        for (path, folder, expected) in cases {
            assert_eq!(below(path.as_bytes(), Path::new(folder)), expected.map(str::as_bytes), "{path} below {folder}");
        }
    }

    proptest! {
        #[test]
        fn no_name_climbs_or_hides(path in r"(/|\.|%2e|%2f|%5c|%00|%|[a-c]|\\|\u{e9}){0,12}") {
            if let Ok(target) = target(format!("/static/{path}").as_bytes(), b"/static", false) {
                prop_assert!(!target.name.contains(&0));
                for segment in target.name.split(|octet| *octet == b'/') {
                    prop_assert!(!segment.starts_with(b"."));
                    prop_assert!(target.name.is_empty() || !segment.is_empty());
                }
            }
        }
    }
}
