//! Reads a head, variable by variable, out of a buffer that may come from another process.

use std::fmt;

use ziggurat_middleware::RequestSummary;

use super::{NAMED, usual};
use crate::cgi::Variable;

/// The name of a variable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// One that has a number.
    Known(Variable),
    /// `HTTP_` and the name of a header.
    Header(&'a [u8]),
}

/// The variables of a head, in a borrowed buffer.
#[derive(Clone, Copy)]
pub(crate) struct HeadView<'a>(&'a [u8]);

impl<'a> HeadView<'a> {
    /// Reads these octets, up to the first that are malformed.
    pub(super) const fn of(buffer: &'a [u8]) -> Self {
        Self(buffer)
    }

    /// The method.
    pub(crate) fn method(self) -> &'a [u8] {
        self.get(Variable::RequestMethod).unwrap_or(b"GET")
    }

    /// The request's id.
    pub(crate) fn request_id(self) -> Option<&'a str> {
        self.get(Variable::RequestId).and_then(|id| std::str::from_utf8(id).ok())
    }

    /// Its method and path, for the log.
    pub(crate) const fn summary(self) -> HeadSummary<'a> {
        HeadSummary(self)
    }

    /// The values of the variables that have a number, in the order of [`Variable::ALL`]; `None` for those that are not set.
    pub(crate) fn known(self) -> [Option<&'a [u8]>; Variable::ALL.len()] {
        let mut values = Variable::ALL.map(|variable| usual(variable).map(str::as_bytes));
        for (key, value) in self {
            if let Key::Known(variable) = key {
                values[variable.index()] = Some(value);
            }
        }
        values
    }

    /// The variables of headers, but for `HTTP_HOST`, which has a number.
    pub(crate) fn headers(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.filter_map(|(key, value)| match key {
            Key::Header(name) => Some((name, value)),
            Key::Known(_) => None,
        })
    }

    fn get(self, variable: Variable) -> Option<&'a [u8]> {
        self.into_iter().find_map(|(key, value)| (key == Key::Known(variable)).then_some(value))
    }
}

/// The method and the path of a request, `GET /shop`, as a [`RequestSummary`](ziggurat_middleware::RequestSummary) displays them.
pub(crate) struct HeadSummary<'a>(HeadView<'a>);

impl fmt::Display for HeadSummary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.0.get(Variable::RequestUri).or_else(|| self.0.get(Variable::PathInfo)).unwrap_or_default();
        let end = target.iter().position(|octet| *octet == b'?').unwrap_or(target.len());
        let (path, rest) = target[..end].split_at_checked(RequestSummary::LONGEST_PATH).unwrap_or((&target[..end], b""));
        write!(f, "{} {}", self.0.method().escape_ascii(), path.escape_ascii())?;
        if rest.is_empty() { Ok(()) } else { f.write_str("...") }
    }
}

impl<'a> Iterator for HeadView<'a> {
    type Item = (Key<'a>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&number, rest) = self.0.split_first()?;
            self.0 = rest;
            if number == NAMED {
                return Some((Key::Header(self.octets()?), self.octets()?));
            }
            let value = self.octets()?;
            // Both ends are the same program, so another number is a mistake; nobody has a name for it.
            if let Some(variable) = Variable::ALL.get(usize::from(number) - 1) {
                return Some((Key::Known(*variable), value));
            }
        }
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
