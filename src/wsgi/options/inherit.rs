//! Which variables of the server's environment an app gets.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::worker::environment::Inherited;

/// `"all"`, or names.
#[derive(Clone, Debug)]
pub(in crate::wsgi) enum Inherit {
    All,
    Names(Vec<String>),
}

impl Inherit {
    /// What a process inherits. Without an option, it is all but what belongs to others.
    pub(in crate::wsgi) fn of(option: Option<&Self>, withheld: &[String]) -> Inherited {
        match option {
            None => Inherited::Except(withheld.to_vec()),
            Some(Self::All) => Inherited::Except(Vec::new()),
            Some(Self::Names(names)) => Inherited::Only(names.clone()),
        }
    }
}

impl<'de> Deserialize<'de> for Inherit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InheritVisitor;

        impl<'de> Visitor<'de> for InheritVisitor {
            type Value = Inherit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`\"all\"`, or a list of names of variables")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Inherit, E> {
                if text == "all" { Ok(Inherit::All) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Inherit, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(names)).map(Inherit::Names)
            }
        }

        deserializer.deserialize_any(InheritVisitor)
    }
}

impl JsonSchema for Inherit {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Inherit")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "all" }, { "type": "array", "items": { "type": "string" } }] })
    }
}
