//! For which statuses a page is.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// A status of an error, or a class of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum StatusPattern {
    Status(u16),
    /// The first digit.
    Class(u16),
}

impl StatusPattern {
    /// The patterns that a status matches, the narrower one first.
    pub(super) fn of(status: StatusCode) -> [Self; 2] {
        [Self::Status(status.as_u16()), Self::Class(status.as_u16() / 100)]
    }

    /// The statuses that match it.
    pub(super) const fn statuses(self) -> RangeInclusive<u16> {
        match self {
            Self::Status(status) => status..=status,
            Self::Class(class) => class * 100..=class * 100 + 99,
        }
    }
}

impl TryFrom<String> for StatusPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match (text.as_str(), text.parse()) {
            ("4xx", _) => Ok(Self::Class(4)),
            ("5xx", _) => Ok(Self::Class(5)),
            (_, Ok(status @ 400..=599)) => Ok(Self::Status(status)),
            _ => Err(format!(
                "`{}` is no status of an error\nhint: write one such as `\"404\"`, or the class `\"4xx\"` or `\"5xx\"`",
                text.escape_debug()
            )),
        }
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

impl Serialize for StatusPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for StatusPattern {
    fn schema_name() -> Cow<'static, str> {
        "StatusPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([45][0-9][0-9]|4xx|5xx)$" })
    }
}
