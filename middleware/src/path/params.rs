//! What routes take out of a path by name.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode};

use super::DecodedPath;
use crate::Step;

/// Octets that no path of a URI has (RFC 3986 section 3.3), and `\`, which browsers read as `/`. `%` stays: the client has encoded already.
const FOREIGN: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// Octets that are encoded in a query: all but the unreserved ones (RFC 3986 section 2.3) and `/`, so that a value cannot add parameters.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What the `{name}`s of route paths matched: a fact that routes put into a request.
///
/// A value is percent-encoded as the client wrote it, and what a URI cannot hold is encoded, too. It therefore consists of visible ASCII, and is safe in
/// a URL and in a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathParams(Vec<(Arc<str>, String)>);

impl PathParams {
    /// The value with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.as_str())
    }

    /// Adds these octets of a path, in place of an earlier value with this name.
    pub fn insert(&mut self, name: Arc<str>, path: &DecodedPath<'_>, octets: Range<usize>) {
        let value = match path.written(octets.clone()) {
            Some(written) => utf8_percent_encode(written, FOREIGN).to_string(),
            // They begin or end inside of a character that the client did not encode.
            None => percent_encode(path.octets().get(octets).unwrap_or_default(), VALUE).to_string(),
        };
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    /// The value with this name as one value in a query.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| percent_encode(&percent_decode_str(value).collect::<Vec<_>>(), VALUE).to_string())
    }
}

/// These octets as one value in a query.
pub fn query_value(octets: &[u8]) -> impl fmt::Display {
    percent_encode(octets, VALUE)
}

/// A `{name}` in the options of a layer or an app. A route above has to have it in its `path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathParamUse {
    /// The name.
    pub name: String,
    /// The fields from the options' root to the text that has it.
    pub path: Vec<Step>,
    /// What to write in place of an unknown name.
    pub hint: &'static str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_stays_as_the_client_encoded_it() {
        let path = DecodedPath::new("/a/%C3%A9%2f+b/\\x");
        let mut params = PathParams::default();
        params.insert("a".into(), &path, 3..8);
        params.insert("b".into(), &path, 9..11);
        assert_eq!((params.get("a"), params.get("b"), params.get("c")), (Some("%C3%A9%2f+b"), Some("%5Cx"), None));
        assert_eq!(params.query_value("a").as_deref(), Some("%C3%A9/%2Bb"));
        params.insert("a".into(), &path, 1..2);
        assert_eq!(params.get("a"), Some("a"));
    }

    proptest! {
        #[test]
        fn a_value_is_visible_ascii(written in r#"(/|%2F|%0d%0a|%00|%|a|é|\\|"|\{){0,12}"#, cuts in any::<[prop::sample::Index; 2]>()) {
            let path = DecodedPath::new(&written);
            let mut cuts = cuts.map(|cut| cut.index(path.octets().len() + 1));
            cuts.sort_unstable();
            let mut params = PathParams::default();
            params.insert("x".into(), &path, cuts[0]..cuts[1]);
            let value = params.get("x").unwrap();
            prop_assert!(value.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'\\'), "{value}");
            prop_assert_eq!(percent_decode_str(value).collect::<Vec<_>>(), &path.octets()[cuts[0]..cuts[1]]);
        }
    }
}
