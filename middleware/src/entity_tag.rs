//! Entity tags in the lists of `If-Match` and `If-None-Match` (RFC 9110 section 8.8.3).

/// An entity tag of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntityTag<'a> {
    pub(crate) weak: bool,
    /// The tag with its quotes, without `W/`.
    pub(crate) opaque: &'a [u8],
}

/// The tags of a list. A tag may contain commas, so the list cannot be split at commas. Reading ends at the first invalid tag.
pub(crate) fn tags(mut list: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', rest @ ..] = list {
            list = rest;
        }
        let (weak, tag) = list.strip_prefix(b"W/").map_or((false, list), |tag| (true, tag));
        let end = tag.strip_prefix(b"\"").and_then(|opened| memchr::memchr(b'"', opened))?;
        let (opaque, rest) = tag.split_at(end + 2);
        list = rest;
        Some(EntityTag { weak, opaque })
    })
}

/// How two entity tags are compared (RFC 9110 section 8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags contains `opaque`, a strong tag with its quotes, or is `*`.
pub(crate) fn is_listed(list: &[u8], opaque: &[u8], comparison: Comparison) -> bool {
    list.trim_ascii() == b"*" || tags(list).any(|tag| tag.opaque == opaque && (comparison == Comparison::Weak || !tag.weak))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_of_tags_are_read_as_the_grammar_says() {
        let cases: &[(&str, bool, bool)] = &[
            ("*", true, true),
            (" * ", true, true),
            (r#""a""#, true, true),
            (r#"W/"a""#, false, true),
            (r#""b", "a""#, true, true),
            (r#""b","a""#, true, true),
            (r#","b",, "a""#, true, true),
            (r#""x,y", W/"a""#, false, true),
            (r#""b, a""#, false, false),
            (r#"a"#, false, false),
            (r#""a"#, false, false),
            (r#"w/"a""#, false, false),
            (r#"b, "a""#, false, false),
            ("", false, false),
        ];
        for (list, strong, weak) in cases {
            assert_eq!(is_listed(list.as_bytes(), br#""a""#, Comparison::Strong), *strong, "{list}");
            assert_eq!(is_listed(list.as_bytes(), br#""a""#, Comparison::Weak), *weak, "{list}");
        }
    }

    proptest! {
        #[test]
        fn any_list_is_read_to_its_end(list in prop::collection::vec(prop::sample::select(b"W/\"a, *".to_vec()), 0..20)) {
            is_listed(&list, br#""a""#, Comparison::Weak);
        }
    }
}
