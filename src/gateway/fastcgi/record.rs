//! Records of FastCGI (section 3.3).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::gateway::Malformed;

/// A record without its padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    /// The request; 0 for a management record.
    pub(crate) id: u16,
    pub(crate) content: Bytes,
}

/// The type of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(pub(crate) u8);

impl Kind {
    pub(crate) const BEGIN_REQUEST: Self = Self(1);
    pub(crate) const ABORT_REQUEST: Self = Self(2);
    pub(crate) const END_REQUEST: Self = Self(3);
    pub(crate) const PARAMS: Self = Self(4);
    pub(crate) const STDIN: Self = Self(5);
    pub(crate) const STDOUT: Self = Self(6);
    pub(crate) const STDERR: Self = Self(7);
    pub(crate) const GET_VALUES: Self = Self(9);
    pub(crate) const GET_VALUES_RESULT: Self = Self(10);
    pub(crate) const UNKNOWN: Self = Self(11);
}

const VERSION: u8 = 1;

const HEADER: usize = 8;

/// The longest content of a record.
pub(crate) const LONGEST_CONTENT: usize = u16::MAX as usize;

impl Record {
    /// Takes the record at the beginning of `octets`; `None` if it is not complete.
    ///
    /// # Errors
    ///
    /// If it has another version than 1.
    pub(crate) fn take(octets: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        if octets.first().is_some_and(|version| *version != VERSION) {
            return Err(Malformed::Syntax("a FastCGI record does not have version 1"));
        }
        let [_, kind, id_high, id_low, length_high, length_low, padding, _, ..] = octets[..] else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let padding = usize::from(padding);
        if octets.len() < HEADER + length + padding {
            return Ok(None);
        }
        octets.advance(HEADER);
        let content = octets.split_to(length).freeze();
        octets.advance(padding);
        Ok(Some(Self { kind: Kind(kind), id: u16::from_be_bytes([id_high, id_low]), content }))
    }

    /// The whole records in `octets`: type, request and content. Ends at what is none.
    pub(crate) fn iter(mut octets: &[u8]) -> impl Iterator<Item = (Kind, u16, &[u8])> {
        std::iter::from_fn(move || {
            let (&[VERSION, kind, id_high, id_low, length_high, length_low, padding, _], rest) = octets.split_first_chunk()? else {
                return None;
            };
            let (content, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([length_high, length_low])))?;
            octets = rest.get(usize::from(padding)..)?;
            Some((Kind(kind), u16::from_be_bytes([id_high, id_low]), content))
        })
    }

    /// Appends the record with padding up to a multiple of 8 octets, as section 3.3 recommends. The content has at most [`LONGEST_CONTENT`] octets.
    pub(crate) fn write(&self, out: &mut BytesMut) {
        write_one(self.kind, self.id, &self.content, out);
    }

    pub(super) const fn header(kind: Kind, id: u16, length: u16, padding: u8) -> [u8; HEADER] {
        let ([id_high, id_low], [length_high, length_low]) = (id.to_be_bytes(), length.to_be_bytes());
        [VERSION, kind.0, id_high, id_low, length_high, length_low, padding, 0]
    }
}

fn write_one(kind: Kind, id: u16, content: &[u8], out: &mut BytesMut) {
    let content = &content[..content.len().min(LONGEST_CONTENT)];
    let padding = content.len().wrapping_neg() % 8;
    // At most `LONGEST_CONTENT`, and less than 8.
    out.put_slice(&Record::header(kind, id, content.len() as u16, padding as u8));
    out.put_slice(content);
    out.put_bytes(0, padding);
}

/// Appends octets of a stream as records: none for no octets, because an empty record ends the stream.
pub(crate) fn write_stream(kind: Kind, id: u16, octets: &[u8], out: &mut BytesMut) {
    for content in octets.chunks(LONGEST_CONTENT) {
        write_one(kind, id, content, out);
    }
}
