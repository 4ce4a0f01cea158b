//! What the tests of the codecs share.

use bytes::{Bytes, BytesMut};

use super::Variables;
use super::fastcgi::{Kind, Record};

/// Variables with these names and values.
pub(super) fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().copied().collect()
}

/// The octets of a FastCGI record.
pub(super) fn record(kind: Kind, id: u16, content: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    Record { kind, id, content: Bytes::copy_from_slice(content) }.write(&mut out);
    out.to_vec()
}

/// What `take` finds in octets that come in pieces of this size. Pieces of a body, which `data` tells, are put together.
pub(super) fn events<T, E>(
    octets: &[u8],
    size: usize,
    mut take: impl FnMut(&mut BytesMut) -> Result<Option<T>, E>,
    data: impl Fn(&mut T) -> Option<&mut Bytes>,
) -> Result<Vec<T>, E> {
    let (mut held, mut found): (_, Vec<T>) = (BytesMut::new(), Vec::new());
    for piece in octets.chunks(size) {
        held.extend_from_slice(piece);
        while let Some(mut event) = take(&mut held)? {
            match (found.last_mut().and_then(&data), data(&mut event)) {
                (Some(known), Some(more)) => *known = [&**known, &**more].concat().into(),
                _ => found.push(event),
            }
        }
    }
    Ok(found)
}
