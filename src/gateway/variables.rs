//! The variables of a request, as a gateway protocol carries them.

use bytes::Bytes;
use http::HeaderName;

use crate::cgi::{Variable, VariableSink, items, push_header_variable};

/// Names and values, in the order in which they stand in the message. A name may stand there twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables(Vec<(Bytes, Bytes)>);

/// As many variables as front servers send.
const ROOM: usize = 40;

impl Variables {
    /// No variables, and room for those of a request.
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(ROOM))
    }

    /// The value of a variable. Of several the last one counts: a front server writes its own settings behind its defaults.
    pub(crate) fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().rev().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Adds a variable behind the others.
    pub(crate) fn push(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.push((name.into(), value.into()));
    }

    /// Sets a variable, in place of all others with its name.
    pub(crate) fn replace(&mut self, name: &str, value: impl Into<Bytes>) {
        self.0.retain(|(known, _)| known != name.as_bytes());
        self.push(Bytes::copy_from_slice(name.as_bytes()), value);
    }
}

impl FromIterator<(Bytes, Bytes)> for Variables {
    fn from_iter<I: IntoIterator<Item = (Bytes, Bytes)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl VariableSink for Variables {
    fn set(&mut self, variable: Variable, value: &[u8]) {
        let value = Bytes::copy_from_slice(value);
        match variable {
            // WSGI alone has these names.
            Variable::RequestId => {}
            Variable::UrlScheme => {
                if &*value == b"https" {
                    self.replace(Variable::Https.name(), "on");
                }
                self.push("REQUEST_SCHEME", value);
            }
            Variable::Https => self.replace(variable.name(), value),
            list if list.is_list() => {
                for (number, item) in items(&value).enumerate() {
                    self.push(list.item_name(number), Bytes::copy_from_slice(item));
                }
            }
            _ => self.push(variable.name(), value),
        }
    }

    fn set_header(&mut self, name: &HeaderName, value: &[u8]) {
        let mut variable = Vec::with_capacity(name.as_str().len() + 5);
        push_header_variable(name, &mut variable);
        self.push(variable, Bytes::copy_from_slice(value));
    }
}
