//! A head as it is read: pair by pair, out of a buffer that may come from another process.

use super::{KEYS, REQUEST_ID, REQUEST_METHOD, SPELLED_OUT};

/// The key of a pair.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// The key at this place of [`KEYS`].
    Known(usize),
    /// A key spelled out, `HTTP_` and the header's name.
    Header(&'a [u8]),
}

/// The pairs of a head, in a buffer of whoever's.
#[derive(Clone, Copy)]
pub(crate) struct HeadView<'a>(&'a [u8]);

impl<'a> HeadView<'a> {
    /// Of octets that are the pairs, if they are anything.
    pub(super) const fn of(pairs: &'a [u8]) -> Self {
        Self(pairs)
    }

    /// The method.
    pub(crate) fn method(self) -> &'a [u8] {
        self.get(REQUEST_METHOD).unwrap_or(b"GET")
    }

    /// The request's id.
    pub(crate) fn request_id(self) -> Option<&'a str> {
        self.get(REQUEST_ID).and_then(|id| std::str::from_utf8(id).ok())
    }

    /// The values of the known keys, by their numbers; nothing for what the head does not name.
    pub(crate) fn known(self) -> [Option<&'a [u8]>; KEYS.len()] {
        let mut values = KEYS.map(|(_, usual)| usual.map(str::as_bytes));
        for (key, value) in self {
            if let Key::Known(number) = key
                && let Some(place) = values.get_mut(number)
            {
                *place = Some(value);
            }
        }
        values
    }

    /// The headers: keys spelled out, and their values.
    pub(crate) fn headers(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.filter_map(|(key, value)| match key {
            Key::Header(name) => Some((name, value)),
            Key::Known(_) => None,
        })
    }

    fn get(self, key: u8) -> Option<&'a [u8]> {
        self.into_iter().find_map(|(at, value)| (at == Key::Known(key.into())).then_some(value))
    }
}

impl<'a> Iterator for HeadView<'a> {
    type Item = (Key<'a>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&number, rest) = self.0.split_first()?;
        self.0 = rest;
        let key = if number == SPELLED_OUT { Key::Header(self.octets()?) } else { Key::Known(number.into()) };
        Some((key, self.octets()?))
    }
}

impl<'a> HeadView<'a> {
    fn octets(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (octets, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(octets)
    }
}
