//! Variables with several values. Inside the program they are one value, with a line for each item; others have a variable for each item, with its number at the end of the
//! name, from `_0` on.

use std::borrow::Cow;

use super::Variable;

/// The most items that are read.
const MOST: usize = 100;

impl Variable {
    /// Whether it has several values.
    pub(crate) const fn is_list(self) -> bool {
        matches!(self, Self::SslClientEmails | Self::SslClientHosts | Self::SslClientUris)
    }

    /// The name of an item.
    pub(crate) fn item_name(self, number: usize) -> String {
        format!("{}_{number}", self.name())
    }
}

/// The items of a value.
pub(crate) fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|octet| *octet == b'\n')
}

/// The value with the items that there are, if there are any. One with a line break is left out.
pub(crate) fn joined<'a, E>(mut item: impl FnMut(usize) -> Result<Option<Cow<'a, [u8]>>, E>) -> Result<Option<Cow<'a, [u8]>>, E> {
    let mut value: Option<Vec<u8>> = None;
    for number in 0..MOST {
        let Some(item) = item(number)? else { break };
        if item.contains(&b'\n') {
            continue;
        }
        match &mut value {
            Some(value) => {
                value.push(b'\n');
                value.extend_from_slice(&item);
            }
            None => value = Some(item.into_owned()),
        }
    }
    Ok(value.map(Cow::from))
}
