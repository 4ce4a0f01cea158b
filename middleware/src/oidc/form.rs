//! Parameters in queries and forms (`application/x-www-form-urlencoded`).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All but the unreserved characters (RFC 3986 section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Writes parameters: `a=1&b=2`.
pub(super) fn write(parameters: &[(&str, &str)]) -> String {
    parameters.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect::<Vec<_>>().join("&")
}

pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The value of a parameter. `None` if it is missing, there twice, or not text.
pub(super) fn read(query: Option<&str>, name: &str) -> Option<String> {
    let mut values = query?.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => percent_decode_str(&value.replace('+', " ")).decode_utf8().ok().map(Into::into),
        _ => None,
    }
}

/// Adds parameters to the query of a URL.
pub(super) fn with(url: &http::Uri, parameters: &[(&str, &str)]) -> String {
    let url = url.to_string();
    format!("{url}{}{}", if url.contains('?') { '&' } else { '?' }, write(parameters))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_parameter_is_found_once_or_not_at_all() {
        let query = Some("a=1&b=x%20y+z&c=1&c=2&d&e=%ff");
        assert_eq!((read(query, "a").as_deref(), read(query, "b").as_deref()), (Some("1"), Some("x y z")));
        for name in ["c", "d", "e", "f"] {
            assert_eq!(read(query, name), None, "{name}");
        }
        assert_eq!(with(&"https://id.test/a?t=1".parse().unwrap(), &[("a b", "c&d")]), "https://id.test/a?t=1&a%20b=c%26d");
    }

    proptest! {
        #[test]
        fn any_value_survives(value in "\\PC{0,30}", other in "\\PC{0,30}") {
            prop_assert_eq!(read(Some(&write(&[("x", &other), ("y", &value)])), "y"), Some(value));
        }
    }
}
