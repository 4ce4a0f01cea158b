//! JSON with comments, as Unit takes it, with the line of every value.

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::Value as Json;

/// A value and its line.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Parses a text.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let options = ParseOptions { allow_comments: true, ..ParseOptions::default() };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options).map_err(|error| format!("it is no JSON: {error}"))?;
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    parsed.value.map(|value| node(&value, &ends)).ok_or_else(|| "it is empty".to_owned())
}

fn node(value: &ast::Value<'_>, ends: &[usize]) -> Node {
    let line = ends.partition_point(|end| *end < value.range().start) + 1;
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
        ast::Value::NumberLit(literal) => literal.value.parse().map_or(Value::Null, Value::Number),
        ast::Value::StringLit(literal) => Value::Text(literal.value.to_string()),
        ast::Value::Array(list) => Value::List(list.elements.iter().map(|item| node(item, ends)).collect()),
        ast::Value::Object(object) => {
            Value::Object(object.properties.iter().map(|entry| (entry.name.as_str().to_owned(), node(&entry.value, ends))).collect())
        }
    };
    Node { line, value }
}

impl Node {
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// A whole number that is not negative.
    pub(super) fn number(&self) -> Option<u64> {
        match self.value {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and within bounds")]
            Value::Number(number) if number.fract() == 0.0 && (0.0..1e15).contains(&number) => Some(number as u64),
            _ => None,
        }
    }

    pub(super) fn truth(&self) -> Option<bool> {
        if let Value::Bool(truth) = self.value { Some(truth) } else { None }
    }

    pub(super) fn entries(&self) -> &[(String, Self)] {
        if let Value::Object(entries) = &self.value { entries } else { &[] }
    }

    /// The items of a list, or this one alone.
    pub(super) fn items(&self) -> &[Self] {
        if let Value::List(items) = &self.value { items } else { std::slice::from_ref(self) }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.entries().iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// On one line, for reports.
    pub(super) fn written(&self) -> String {
        self.to_json().to_string()
    }

    fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(truth) => (*truth).into(),
            Value::Number(number) => self.number().map_or_else(|| Json::from(*number), Json::from),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Object(entries) => {
                entries.iter().map(|(name, value)| (name.clone(), value.to_json())).collect::<serde_json::Map<_, _>>().into()
            }
        }
    }
}
