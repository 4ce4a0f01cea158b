//! Paths of requests as routes and layers match them, and what they take out of a path.

mod decoded;
mod params;
mod pattern;
mod regex;

pub use decoded::DecodedPath;
pub use params::{PathParamUse, PathParams, query_value};
pub(crate) use pattern::PathPattern;
pub use regex::PathRegex;
pub(crate) use regex::whole;

/// What follows the slash at the beginning of a path, for a `Location` of this host. Browsers read `//` and `/\` at the beginning as the name of a host.
pub(crate) fn without_root(path: &str) -> &str {
    path.trim_start_matches(['/', '\\'])
}

/// Whether this can stand between the braces of `{name}`.
#[must_use]
pub fn is_param_name(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
}
