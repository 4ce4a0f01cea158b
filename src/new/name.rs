//! The name of a new crate, and the names of its parts that follow from it.

/// Reserved names, one word each; lines with `#` say by what.
const TAKEN: &str = include_str!("taken.txt");

/// The name of a crate in all its forms.
#[derive(Debug)]
pub(super) struct Name {
    /// Of the crate, its folder and its wheel: `build-stamp`.
    pub(super) package: String,
    /// In Rust and Python, and of the layer: `build_stamp`.
    pub(super) module: String,
    /// Of the struct: `BuildStamp`.
    pub(super) type_: String,
}

impl Name {
    /// Checks a name; the error is a message with a hint.
    pub(super) fn new(name: &str) -> Result<Self, String> {
        let module = name.replace('-', "_");
        let is_word = |part: &str| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit());
        let is_name = name.starts_with(|first: char| first.is_ascii_lowercase()) && module.split('_').all(is_word) && name.len() <= 64;
        if !is_name {
            return Err(format!(
                "error: `{}` is not a name for a crate and its layer\nhint: use lower-case letters and digits, with `-` or `_` between words, as in `build-stamp`; begin with a letter",
                name.escape_debug()
            ));
        }
        if TAKEN.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).any(|taken| taken == module) {
            return Err(format!(
                "error: `{name}` already has a meaning in Rust, in Python or in this crate\nhint: choose a name that says what the layer does"
            ));
        }
        let type_ = module.split('_').map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect();
        Ok(Self { package: name.to_owned(), module, type_ })
    }

    /// Of the header that the layer sets: `x-build-stamp`.
    pub(super) fn header(&self) -> String {
        format!("x-{}", self.module.replace('_', "-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_form_for_each_use() {
        let name = Name::new("build-stamp2").unwrap();
        assert_eq!((name.module.as_str(), name.type_.as_str(), name.header().as_str()), ("build_stamp2", "BuildStamp2", "x-build-stamp2"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "9", "Stamp", "a b", "a/b", "../a", "-a", "a-", "a--b", "_a", "a.b", "tür", "a\nb", &"a".repeat(65)] {
            assert!(Name::new(name).unwrap_err().contains("is not a name"), "{name}");
        }
    }

    #[test]
    fn names_that_get_into_the_way_are_refused() {
        for name in ["fn", "lambda", "json", "serde", "ziggurat", "ziggurat-middleware", "header-value", "hello", "test", "zoneinfo"] {
            assert!(Name::new(name).unwrap_err().contains("already has a meaning"), "{name}");
        }
    }
}
