//! Entity tags of compressed responses.
//!
//! A strong tag names octets, and the compressed octets are others (RFC 9110 section 8.8.3.3). So `"v1"` leaves as `"v1;gzip"`, and returns to the app as `"v1"` in
//! `If-None-Match` and `If-Match`: apps find the tag that they gave. `If-Range` keeps the mark, because the app's ranges are those of the uncompressed octets.

use http::header::{ACCEPT_ENCODING, ETAG, Entry, HeaderName, IF_MATCH, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, HeaderValue};

use crate::encoding::{Accepted, Encoding};
use crate::entity_tag::{EntityTag, tags};

/// Separates the tag from the name of the encoding. Tags of apps hardly ever end so.
const MARK: u8 = b';';

/// The marked tags of `If-None-Match`, which the app got without their marks.
#[derive(Debug, Default)]
pub(super) struct KnownTags(Vec<Vec<u8>>);

/// Takes the marks off the tags in the preconditions of a request.
pub(super) fn unmark(headers: &mut HeaderMap) -> KnownTags {
    // A part would be one of the uncompressed octets, so the compressed ones do not match.
    if !headers.contains_key(RANGE) {
        rewrite(headers, IF_MATCH, |tag| {
            let (unmarked, _) = unmarked(tag.opaque)?;
            Some(if tag.weak { [b"W/", &*unmarked].concat() } else { unmarked })
        });
    }
    // Without the header, every encoding is acceptable (RFC 9110 section 12.5.3).
    let accepted = headers.contains_key(ACCEPT_ENCODING).then(|| Accepted::of(headers));
    let mut known = Vec::new();
    rewrite(headers, IF_NONE_MATCH, |tag| {
        // A cache may know variants that this client cannot decode.
        let (unmarked, encoding) = unmarked(tag.opaque)?;
        accepted.is_none_or(|accepted| accepted.ranked(&Encoding::ALL).any(|one| one == encoding)).then(|| {
            known.push(tag.opaque.to_vec());
            // Something in front may have made the tag weak. The app gave a strong one, and here the comparison is weak.
            unmarked
        })
    });
    KnownTags(known)
}

/// Replaces the tags in the lists of this header for which `replace` gives another.
fn rewrite(headers: &mut HeaderMap, name: HeaderName, mut replace: impl FnMut(EntityTag) -> Option<Vec<u8>>) {
    let Entry::Occupied(mut lists) = headers.entry(name) else { return };
    for list in lists.iter_mut() {
        let mut replaced = false;
        let tags = tags(list.as_bytes()).map(|tag| {
            let other = replace(tag);
            replaced |= other.is_some();
            other.unwrap_or_else(|| [if tag.weak { b"W/" } else { &b""[..] }, tag.opaque].concat())
        });
        let rewritten = tags.collect::<Vec<_>>().join(&b", "[..]);
        if replaced && let Ok(rewritten) = HeaderValue::from_bytes(&rewritten) {
            *list = rewritten;
        }
    }
}

fn unmarked(opaque: &[u8]) -> Option<(Vec<u8>, Encoding)> {
    let opened = opaque.strip_suffix(b"\"")?;
    Encoding::ALL.into_iter().find_map(|encoding| {
        let tag = opened.strip_suffix(encoding.token().as_bytes())?.strip_suffix(&[MARK])?;
        Some(([tag, b"\""].concat(), encoding))
    })
}

/// Marks the strong tag of a response that has been compressed.
pub(super) fn mark(headers: &mut HeaderMap, encoding: Encoding) {
    if let Some(etag) = headers.get_mut(ETAG)
        && let Some(marked) = marked(etag, encoding)
    {
        *etag = marked;
    }
}

impl KnownTags {
    /// Marks the tag of a 304 as the client knows it: with the encoding that it accepts now, or else another.
    pub(super) fn mark_not_modified(&self, headers: &mut HeaderMap, accepted: Option<Encoding>) {
        let Some(etag) = headers.get_mut(ETAG) else { return };
        let known = accepted
            .into_iter()
            .chain(Encoding::ALL)
            .filter_map(|encoding| marked(etag, encoding))
            .find(|tag| self.0.iter().any(|known| known == tag.as_bytes()));
        if let Some(known) = known {
            *etag = known;
        }
    }
}

fn marked(etag: &HeaderValue, encoding: Encoding) -> Option<HeaderValue> {
    let opened = etag.as_bytes().strip_suffix(b"\"").filter(|opened| opened.starts_with(b"\""))?;
    HeaderValue::from_bytes(&[opened, &[MARK], encoding.token().as_bytes(), b"\""].concat()).ok()
}
