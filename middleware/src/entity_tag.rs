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
