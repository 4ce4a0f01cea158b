//! The prefix of a mount.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::pattern::text_pattern;

/// A path and everything below it, on the border of a segment: `/blog` is the prefix of `/blog` and `/blog/x`, not of `/blogs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(String);

impl Prefix {
    pub(crate) fn holds(&self, path: &[u8]) -> bool {
        path.strip_prefix(self.0.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "/" {
            return Err("`/` takes nothing off a path\nhint: leave `mount` out, or mount at a prefix such as `\"/blog\"`".to_owned());
        }
        if let Some(prefix) = text.strip_suffix("/*").or_else(|| text.strip_suffix('/')) {
            let prefix = prefix.trim_matches('/');
            return Err(format!("`{text}` does not end in a name\nhint: write `\"/{prefix}\"`; everything below it belongs to it"));
        }
        if text.contains(['{', '}']) {
            return Err(format!("`{}` is not a fixed prefix\nhint: a `{{name}}` stands in `path` of `match`", text.escape_debug()));
        }
        well_formed(text, text).map(|()| Self(text.to_owned()))
    }
}

/// Whether a decoded request path can be this.
pub(super) fn well_formed(text: &str, path: &str) -> Result<(), String> {
    let hint = if !path.starts_with('/') {
        format!("a path begins with `/`: `\"/{}\"`", text.trim_start_matches('/'))
    } else if path.contains(['?', '#']) {
        "a query is matched by `query`".to_owned()
    } else if percent_decode_str(path).ne(path.bytes()) {
        format!("write it without percent-encoding: `\"{}\"`", percent_decode_str(text).decode_utf8_lossy())
    } else if path.contains("//") {
        "write single slashes".to_owned()
    } else if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        "write the path without `.` and `..`".to_owned()
    } else if path.contains(|c: char| c.is_ascii_control()) {
        "control characters do not belong there".to_owned()
    } else if path.contains('*') {
        "a `*` may only stand at the end, as in `/api/*`".to_owned()
    } else {
        return Ok(());
    };
    Err(format!("`{}` cannot be matched\nhint: {hint}", text.escape_debug()))
}

text_pattern!(Prefix, "a path such as \"/blog\"", { "type": "string", "pattern": r"^(/.*[^/]|.*\$.*)$", "examples": ["/blog"] });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_that_cannot_be_meant_are_refused_with_a_hint() {
        for text in ["/", "blog", "/blog/", "/blog/*", "/b%6cog", "/{name}"] {
            assert!(text.parse::<Prefix>().unwrap_err().contains("\nhint: "), "{text}");
        }
        let prefix: Prefix = "/blog".parse().unwrap();
        assert!(prefix.holds(b"/blog") && prefix.holds(b"/blog/x") && !prefix.holds(b"/blogs"));
    }
}
