//! The variables of a request, as a gateway protocol carries them.

use std::fmt;

use http::HeaderName;

use crate::cgi::{Variable, VariableSink, items, push_header_variable};

/// Names and values, in the order in which they stand in the message. A name may stand there twice.
#[derive(Clone, Default)]
pub(crate) struct Variables {
    /// Names, each with its value behind it.
    octets: Vec<u8>,
    pairs: Vec<Pair>,
}

#[derive(Clone, Copy)]
struct Pair {
    name: usize,
    value: usize,
    end: usize,
}

/// As many variables, and octets of them, as front servers send.
const ROOM: usize = 40;
const OCTETS: usize = 1 << 10;

impl Variables {
    /// No variables, and room for those of a request.
    pub(crate) fn new() -> Self {
        Self { octets: Vec::with_capacity(OCTETS), pairs: Vec::with_capacity(ROOM) }
    }

    /// The value of a variable. Of several the last one counts: a front server writes its own settings behind its defaults.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().rev().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|Pair { name, value, end }| (&self.octets[*name..*value], &self.octets[*value..*end]))
    }

    /// Adds a variable behind the others.
    pub(crate) fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push_with(|octets| octets.extend_from_slice(name.as_ref()), value.as_ref());
    }

    /// Adds a variable whose name is written behind the octets.
    fn push_with(&mut self, write_name: impl FnOnce(&mut Vec<u8>), text: &[u8]) {
        let name = self.octets.len();
        write_name(&mut self.octets);
        let value = self.octets.len();
        self.octets.extend_from_slice(text);
        self.pairs.push(Pair { name, value, end: self.octets.len() });
    }

    /// Sets a variable, in place of all others with its name.
    pub(crate) fn replace(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let Self { octets, pairs } = self;
        pairs.retain(|pair| &octets[pair.name..pair.value] != name.as_bytes());
        self.push(name, value);
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name.escape_ascii().to_string(), value.escape_ascii().to_string()))).finish()
    }
}

impl PartialEq for Variables {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Variables {}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut variables = Self::default();
        pairs.into_iter().for_each(|(name, value)| variables.push(name, value));
        variables
    }
}

impl VariableSink for Variables {
    fn set(&mut self, variable: Variable, value: &[u8]) {
        match variable {
            // WSGI alone has these names.
            Variable::RequestId | Variable::WsgiLint => {}
            Variable::UrlScheme => {
                if value == b"https" {
                    self.replace(Variable::Https.name(), "on");
                }
                self.push("REQUEST_SCHEME", value);
            }
            Variable::Https => self.replace(variable.name(), value),
            list if list.is_list() => {
                for (number, item) in items(value).enumerate() {
                    self.push(list.item_name(number), item);
                }
            }
            _ => self.push(variable.name(), value),
        }
    }

    fn set_header(&mut self, name: &HeaderName, value: &[u8]) {
        self.push_with(|octets| push_header_variable(name, octets), value);
    }
}
