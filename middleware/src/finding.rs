//! Mistakes in the options of a layer or an app.
//!
//! A layer does not know its position in the file. It names a field of its options, and the reader of the file knows the line.

use std::fmt;

/// One mistake in the options: what is wrong, at which field, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The path from the options to the field; empty for the options as a whole.
    pub path: Vec<Step>,
    /// What is wrong: lower case, names in backticks, no full stop.
    pub message: String,
    /// How to fix it.
    pub hint: Option<String>,
    /// Further text, for instance a Python traceback.
    pub note: Option<String>,
}

/// One step into a tree of options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The value of this key.
    Key(String),
    /// The element with this index.
    Index(usize),
}

impl Finding {
    /// A finding about the options as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), message: message.into(), hint: None, note: None }
    }

    /// Points at a field, one step inside the field named so far.
    #[must_use]
    pub fn at(mut self, field: impl Into<Step>) -> Self {
        self.path.push(field.into());
        self
    }

    /// Points into this field: at what was named so far, inside of it.
    #[must_use]
    pub fn within(mut self, field: impl Into<Step>) -> Self {
        self.path.insert(0, field.into());
        self
    }

    /// Adds how to fix it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds further text.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// `?` in [`crate::Middleware::layer`] makes any error a finding about the options as a whole.
impl<E: std::error::Error> From<E> for Finding {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<String> for Step {
    fn from(key: String) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

/// The findings about the options of one layer or app, in the order they were found.
#[derive(Clone, Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a finding.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Findings {
    type Item = Finding;
    type IntoIter = std::vec::IntoIter<Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The system's words for an error, without its number and in lower case, for a message: `no such file or directory`.
#[must_use]
pub fn system_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut rest = words.chars();
    rest.next().map_or_else(String::new, |first| first.to_lowercase().chain(rest).collect())
}
