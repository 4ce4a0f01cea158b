//! The values that `${...}` put into a file, kept out of every message.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The values that came from outside the file, each with its source, the longest first: a value that is part of another must not uncover the rest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Pairs of a value and its source, for instance `${TOKEN}`.
    pub(crate) fn new(mut values: Vec<(String, String)>) -> Self {
        values.retain(|(value, _)| !value.is_empty());
        values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        Self(values)
    }

    /// Those that this JSON text holds.
    pub(crate) fn within(&self, json: &str) -> Self {
        let is_within = |value: &str| {
            let quoted = Value::from(value).to_string();
            json.contains(&quoted[1..quoted.len() - 1])
        };
        Self(self.0.iter().filter(|(value, _)| is_within(value)).cloned().collect())
    }

    /// The files that values came from, as the pipeline file names them.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|(_, source)| source.strip_prefix("${file:")?.strip_suffix('}'))
    }

    /// The text with every value replaced by its source. A short value is replaced only where it is a whole word.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (value, source)| replace(&text, value, source))
    }
}

fn replace(text: &str, value: &str, source: &str) -> String {
    const LONG: usize = 8;
    let mut redacted = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(value) {
        let (before, after) = (&rest[..at], &rest[at + value.len()..]);
        let inside_a_word = before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
        redacted.push_str(before);
        redacted.push_str(if value.len() < LONG && inside_a_word { value } else { source });
        rest = after;
    }
    redacted + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[(&str, &str)]) -> Secrets {
        Secrets::new(values.iter().map(|(value, source)| ((*value).to_owned(), (*source).to_owned())).collect())
    }

    #[test]
    fn values_are_redacted_and_words_are_spared() {
        let secrets = secrets(&[("at", "${B}"), ("hunter22", "${A}")]);
        assert_eq!(secrets.redact("xhunter22x: `at` that"), "x${A}x: `${B}` that");
    }

    #[test]
    fn a_value_that_json_escapes_is_found_in_json() {
        let secrets = secrets(&[("a\"b\n", "${A}"), ("elsewhere", "${B}")]);
        let within = secrets.within(&Value::from("x a\"b\n").to_string());
        assert_eq!(within.redact("a\"b\n elsewhere"), "${A} elsewhere");
    }
}
