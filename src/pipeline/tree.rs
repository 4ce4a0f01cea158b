//! The file as a tree of values, each with its span in the text.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Number;
use ziggurat_middleware::Step;

/// Octets of the text, from the first to past the last.
pub(crate) type Span = Range<usize>;

/// A value with its span.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
    /// Set where `${...}` had a part in the value.
    pub(crate) expanded: Option<Box<Expanded>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Node>),
    Object(Vec<Entry>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

/// The source of an expanded value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Expanded {
    /// The string in the file, for instance `${TOKEN}`.
    pub(crate) source: String,
    /// Whether the string is one `${...}` and nothing else, so that its value may fill a number or a boolean.
    pub(crate) whole: bool,
    /// Whether a part came from outside the file; such a value is never shown.
    pub(crate) secret: bool,
}

impl Expanded {
    /// The variables of the environment that the string names.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        let references = self.source.split("${").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
        references.filter(|reference| !reference.starts_with("file:")).map(|reference| reference.split(':').next().unwrap_or(reference))
    }
}

impl Node {
    /// The variables of the environment that strings in it name, without the `${...}` around them.
    pub(crate) fn variables(&self) -> Vec<&str> {
        let own = self.expanded.iter().flat_map(|expanded| expanded.variables());
        own.chain(self.children().flat_map(|(_, child)| child.variables())).collect()
    }

    pub(crate) const fn new(span: Span, value: Value) -> Self {
        Self { span, value, expanded: None }
    }

    /// The options of a bare name: an object without keys, with the span of the name.
    pub(crate) const fn empty_object(span: Span) -> Self {
        Self::new(span, Value::Object(Vec::new()))
    }

    /// Expands a shorthand: `value` becomes `{field: value}` with the span of the value.
    pub(crate) fn under(self, field: &str) -> Self {
        let span = self.span.clone();
        let entry = Entry { key: field.to_owned(), key_span: span.clone(), value: self };
        Self::new(span, Value::Object(vec![entry]))
    }

    pub(crate) const fn is_object(&self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    /// What kind of value this is, with its article.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// The source of a value that must not be shown.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.expanded.as_deref().filter(|expanded| expanded.secret).map(|expanded| expanded.source.as_str())
    }

    /// Whether it is the same value, wherever it stands.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(one), Value::Bool(two)) => one == two,
            (Value::Number(one), Value::Number(two)) => one == two,
            (Value::String(one), Value::String(two)) => one == two,
            (Value::Array(one), Value::Array(two)) => one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.is_like(two)),
            (Value::Object(one), Value::Object(two)) => {
                let is_in = |entry: &Entry| two.iter().any(|other| other.key == entry.key && other.value.is_like(&entry.value));
                one.len() == two.len() && one.iter().all(is_in)
            }
            _ => false,
        }
    }

    /// The children with the step that leads to each.
    pub(crate) fn children(&self) -> Box<dyn Iterator<Item = (Step, &Self)> + '_> {
        match &self.value {
            Value::Array(items) => Box::new(items.iter().enumerate().map(|(i, item)| (Step::Index(i), item))),
            Value::Object(entries) => Box::new(entries.iter().map(|entry| (Step::Key(entry.key.clone()), &entry.value))),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// The node at the end of `path`, or the last one on the way there that exists.
    pub(crate) fn nearest(&self, path: &[Step]) -> &Self {
        let mut node = self;
        for step in path {
            let Some((_, child)) = node.children().find(|(to, _)| to == step) else { break };
            node = child;
        }
        node
    }
}

/// A path as a person writes it: `response.set`, `with[0]`.
pub(crate) fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(i) => text.push_str(&format!("[{i}]")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_a_value_are_found_wherever_they_stand() {
        let mut leaf = Node::new(0..1, Value::String(String::new()));
        let source = "a ${A}:${B:-x:y} ${file:secret} $C".to_owned();
        leaf.expanded = Some(Box::new(Expanded { source, whole: false, secret: true }));
        let tree = Node::new(0..1, Value::Array(vec![leaf, Node::new(0..1, Value::Null)])).under("users");
        assert_eq!(tree.variables(), ["A", "B"]);
    }

    #[test]
    fn a_path_that_leads_nowhere_ends_at_the_last_node_on_the_way() {
        let tree = Node::new(3..4, Value::Bool(true)).under("b").under("a");
        let path = ["a".into(), "b".into(), "c".into()];
        assert!(matches!(tree.nearest(&path).value, Value::Bool(true)));
        assert_eq!(tree.nearest(&["x".into()]).span, 3..4);
        assert_eq!(dotted(&["a".into(), 1.into(), "b".into()]), "a[1].b");
    }
}
