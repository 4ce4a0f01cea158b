//! The origins that may call.

use std::borrow::Cow;

use http::HeaderValue;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use crate::origin::SentOrigin;

/// `*`, or an origin exactly as browsers send it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum AllowedOrigin {
    Any,
    Exact(SentOrigin),
}

impl AllowedOrigin {
    /// Its text; `None` for all.
    pub(super) fn exact(&self) -> Option<String> {
        match self {
            Self::Any => None,
            Self::Exact(origin) => Some(origin.to_string()),
        }
    }

    pub(super) fn into_exact(self) -> Option<HeaderValue> {
        match self {
            Self::Any => None,
            Self::Exact(origin) => Some(origin.0),
        }
    }
}

impl TryFrom<String> for AllowedOrigin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        SentOrigin::try_from(text).map(Self::Exact)
    }
}

impl Serialize for AllowedOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("*"),
            Self::Exact(origin) => origin.serialize(serializer),
        }
    }
}

impl JsonSchema for AllowedOrigin {
    fn schema_name() -> Cow<'static, str> {
        "AllowedOrigin".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "`*`, or an origin such as `https://app.example.com`." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_every_origin() {
        let read = |text: &str| AllowedOrigin::try_from(text.to_owned());
        assert_eq!(read("*"), Ok(AllowedOrigin::Any));
        assert_eq!(read("https://example.com").unwrap().into_exact().unwrap(), "https://example.com");
        assert!(read("example.com").unwrap_err().contains("is not an origin"));
    }
}
