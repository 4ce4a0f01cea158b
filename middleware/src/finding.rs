//! What is wrong with the options of a layer or an app, in terms of its own fields.
//!
//! A layer does not know where in the file it stands. It names a field; whoever reads the file knows the line and draws the caret.

use std::fmt;

/// One mistake in the options: what, at which field, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The fields from the options' root to the culprit; empty means the options as a whole.
    pub path: Vec<Step>,
    /// What is wrong: lower case, names in backticks, no full stop.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// Further text shown as it is, for instance a Python traceback.
    pub note: Option<String>,
}

/// One step into a tree of options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The value of this key.
    Key(String),
    /// The element at this place, counted from 0.
    Index(usize),
}

impl Finding {
    /// A finding about the options as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), message: message.into(), hint: None, note: None }
    }

    /// Points at a field, one step further inside the place named so far.
    #[must_use]
    pub fn at(mut self, field: impl Into<Step>) -> Self {
        self.path.push(field.into());
        self
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds text that is shown as it is.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// Any error met while acquiring something (`?` in [`crate::Middleware::layer`]) is a finding about the whole.
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

/// All findings of one set of options, in the order they were met.
#[derive(Clone, Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Whether nothing is wrong.
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
