//! The status of a redirect, as an option.

use std::borrow::Cow;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A status with which clients follow `Location` (RFC 9110 section 15.4): 301, 302, 303, 307 or 308, which is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectStatus(StatusCode);

impl RedirectStatus {
    /// The status.
    #[must_use]
    pub const fn get(self) -> StatusCode {
        self.0
    }

    /// Whether clients send the request again as it was, with its method and its body.
    #[must_use]
    pub fn keeps_method(self) -> bool {
        matches!(self.0, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
    }
}

impl Default for RedirectStatus {
    fn default() -> Self {
        Self(StatusCode::PERMANENT_REDIRECT)
    }
}

impl<'de> Deserialize<'de> for RedirectStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        match u16::try_from(number).map(StatusCode::from_u16) {
            Ok(Ok(status)) if matches!(number, 301..=303 | 307 | 308) => Ok(Self(status)),
            _ => Err(de::Error::custom(format!("`{number}` is not the status of a redirect\nhint: these are 301, 302, 303, 307 and 308"))),
        }
    }
}

impl Serialize for RedirectStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0.as_u16())
    }
}

impl JsonSchema for RedirectStatus {
    fn schema_name() -> Cow<'static, str> {
        "RedirectStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "enum": [301, 302, 303, 307, 308] })
    }
}
