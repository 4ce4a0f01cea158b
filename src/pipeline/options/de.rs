//! A serde deserializer over the tree, whose errors know their place.

use std::collections::HashMap;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};

use crate::pipeline::tree::{Entry, Node, Value};

/// How to read some of the nodes, decided by earlier attempts at the same tree.
#[derive(Debug, Default)]
pub(super) struct Modes(HashMap<Address, Mode>);

/// A node, by its address in memory: a tree does not move while it is read.
pub(super) type Address = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As it is.
    Plain,
    /// A string that is one variable fills a number or a boolean.
    Scalar,
    /// As a value that no type accepts, so that the error says what was expected. Used for secrets, whose own error would show them.
    Probe,
    /// As if it were not there.
    Skip,
}

impl Modes {
    pub(super) fn of(&self, node: Address) -> Mode {
        self.0.get(&node).copied().unwrap_or(Mode::Plain)
    }

    pub(super) fn set(&mut self, node: Address, mode: Mode) {
        self.0.insert(node, mode);
    }
}

pub(super) fn address(node: &Node) -> Address {
    std::ptr::from_ref(node).addr()
}

/// Why a value was refused, and where.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) reason: Box<Reason>,
    pub(super) at: Option<At>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// The key of this node.
    Key(Address),
    Value(Address),
}

#[derive(Clone, Debug)]
pub(super) enum Reason {
    UnknownKey {
        name: String,
        known: &'static [&'static str],
    },
    UnknownVariant {
        name: String,
        known: &'static [&'static str],
    },
    Missing(&'static str),
    /// What was expected and what was found, in words.
    WrongType {
        expected: String,
        found: &'static str,
    },
    WrongValue {
        expected: String,
    },
    Other(String),
}

impl Error {
    fn new(reason: Reason) -> Self {
        Self { reason: Box::new(reason), at: None }
    }

    fn or_at(mut self, at: At) -> Self {
        self.at.get_or_insert(at);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.reason)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Reason::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a number",
            Unexpected::Float(_) => "a number with a fraction",
            Unexpected::Unit | Unexpected::Option => "null",
            Unexpected::Seq => "a list",
            Unexpected::Map => "an object",
            _ => "a string",
        };
        Self::new(Reason::WrongType { expected: in_words(expected), found })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Reason::WrongValue { expected: in_words(expected) })
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::new(Reason::WrongValue { expected: in_words(expected) })
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(Reason::UnknownVariant { name: name.to_owned(), known })
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(Reason::UnknownKey { name: name.to_owned(), known })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Reason::Missing(field))
    }
}

/// What serde calls things, in words of the file.
fn in_words(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let plain = match text.as_str() {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "a map" => "an object",
        "path string" => "a path",
        _ if text.starts_with("a nonzero") => "a whole number, 1 or more",
        _ if text.starts_with("struct ") => "an object",
        _ if text.starts_with("enum ") => "a string",
        _ => return text,
    };
    plain.to_owned()
}

/// Reads one node.
#[derive(Clone, Copy)]
pub(super) struct De<'de, 'm> {
    pub(super) node: &'de Node,
    pub(super) modes: &'m Modes,
}

impl<'de> De<'de, '_> {
    fn at(&self) -> At {
        At::Value(address(self.node))
    }

    fn mode(&self) -> Mode {
        self.modes.of(address(self.node))
    }

    fn any<V: Visitor<'de>>(self, visitor: V, fields: Option<&'static [&'static str]>) -> Result<V::Value, Error> {
        let modes = self.modes;
        let result = match (&self.node.value, self.mode()) {
            (_, Mode::Probe) => visitor.visit_unit(),
            // serde would take a list for a struct, field by field.
            (Value::Array(_), _) if fields.is_some() => Err(de::Error::invalid_type(Unexpected::Seq, &"a map")),
            (Value::Null, _) => visitor.visit_unit(),
            (Value::Bool(value), _) => visitor.visit_bool(*value),
            (Value::Number(number), _) => visit_number(number, visitor),
            (Value::String(text), Mode::Scalar) => visit_scalar(text, visitor),
            (Value::String(text), _) => visitor.visit_borrowed_str(text),
            (Value::Array(items), _) => visitor.visit_seq(Items { rest: items.iter(), modes }),
            (Value::Object(entries), _) => visitor.visit_map(Entries { rest: entries.iter(), value: None, modes, fields }),
        };
        result.map_err(|error| error.or_at(self.at()))
    }
}

fn visit_number<'de, V: Visitor<'de>>(number: &serde_json::Number, visitor: V) -> Result<V::Value, Error> {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(number), ..) => visitor.visit_u64(number),
        (_, Some(number), _) => visitor.visit_i64(number),
        (.., number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
    }
}

/// Whether a text could fill a number or a boolean.
pub(super) fn is_scalar(text: &str) -> bool {
    matches!(serde_json::from_str(text), Ok(serde_json::Value::Bool(_) | serde_json::Value::Number(_)))
}

fn visit_scalar<'de, V: Visitor<'de>>(text: &'de str, visitor: V) -> Result<V::Value, Error> {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Bool(value)) => visitor.visit_bool(value),
        Ok(serde_json::Value::Number(number)) => visit_number(&number, visitor),
        _ => visitor.visit_borrowed_str(text),
    }
}

impl<'de> Deserializer<'de> for De<'de, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.any(visitor, None)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.any(visitor, Some(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, known: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        let refusal = |found| {
            Error::new(Reason::WrongType { expected: format!("one of {}", crate::pipeline::names::list(known.iter().copied())), found })
        };
        let result = match (&self.node.value, self.mode()) {
            (_, Mode::Probe) => Err(refusal("something else")),
            (Value::String(name), _) => visitor.visit_enum(Variant { name, key: None, content: None, modes: self.modes }),
            (Value::Object(entries), _) if entries.len() == 1 => {
                let Entry { key, value, .. } = &entries[0];
                visitor.visit_enum(Variant { name: key, key: Some(address(value)), content: Some(value), modes: self.modes })
            }
            _ => Err(refusal(self.node.kind())),
        };
        result.map_err(|error| error.or_at(self.at()))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

struct Items<'de, 'm> {
    rest: std::slice::Iter<'de, Node>,
    modes: &'m Modes,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let modes = self.modes;
        let next = self.rest.find(|node| modes.of(address(node)) != Mode::Skip);
        next.map(|node| seed.deserialize(De { node, modes }).map_err(|error| error.or_at(At::Value(address(node))))).transpose()
    }
}

struct Entries<'de, 'm> {
    rest: std::slice::Iter<'de, Entry>,
    value: Option<&'de Node>,
    modes: &'m Modes,
    /// The keys that a struct knows; others are refused even where its author forgot to.
    fields: Option<&'static [&'static str]>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let modes = self.modes;
        let Some(entry) = self.rest.find(|entry| modes.of(address(&entry.value)) != Mode::Skip) else { return Ok(None) };
        let at = At::Key(address(&entry.value));
        if let Some(known) = self.fields.filter(|known| !known.contains(&entry.key.as_str())) {
            return Err(Error::new(Reason::UnknownKey { name: entry.key.clone(), known }).or_at(at));
        }
        self.value = Some(&entry.value);
        let key: StrDeserializer<'_, Error> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| error.or_at(at))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        match self.value.take() {
            Some(node) => seed.deserialize(De { node, modes: self.modes }).map_err(|error| error.or_at(At::Value(address(node)))),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

struct Variant<'de, 'm> {
    name: &'de str,
    key: Option<Address>,
    content: Option<&'de Node>,
    modes: &'m Modes,
}

impl<'de> EnumAccess<'de> for Variant<'de, '_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        let value = seed.deserialize(name).map_err(|error| match self.key {
            Some(key) => error.or_at(At::Key(key)),
            None => error,
        })?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(node) => {
                Err(Error::new(Reason::WrongType { expected: "a string".to_owned(), found: "an object" }).or_at(At::Value(address(node))))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        match self.content {
            Some(node) => seed.deserialize(De { node, modes: self.modes }),
            None => Err(Error::new(Reason::WrongType { expected: format!("an object `{{\"{}\": ...}}`", self.name), found: "a string" })),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.newtype_variant_seed(Content(visitor, None))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.newtype_variant_seed(Content(visitor, Some(fields)))
    }
}

/// The content of a variant with several fields.
struct Content<V>(V, Option<&'static [&'static str]>);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Content<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        match self.1 {
            Some(fields) => deserializer.deserialize_struct("", fields, self.0),
            None => deserializer.deserialize_any(self.0),
        }
    }
}
