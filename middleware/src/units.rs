//! Values with units, as in `"30s"` and `"10MiB"`. A number without a unit is refused.
//!
//! An error message may have a last line `hint: ...`, which is shown apart.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time;

use http::{HeaderName, HeaderValue};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::options::from_text_or_number;

/// A length of time: `500ms`, `30s`, `5m`, `1h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub time::Duration);

impl Duration {
    const UNITS: [(&'static str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

    /// A number of seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Self {
        Self(time::Duration::from_secs(secs))
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let scale = Self::UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
        match (number.parse::<u64>(), scale) {
            (Ok(number), Some(scale)) => number
                .checked_mul(scale)
                .map(|millis| Self(time::Duration::from_millis(millis)))
                .ok_or_else(|| format!("`{text}` is too long a time")),
            (Ok(_), None) if unit.is_empty() => {
                Err(format!("`{text}` has no unit\nhint: write `\"{text}s\"` for seconds; units are `ms`, `s`, `m`, `h`, `d`"))
            }
            (Ok(_), None) => Err(format!("`{unit}` is not a unit of time\nhint: units are `ms`, `s`, `m`, `h`, `d`, as in `\"30s\"`")),
            (Err(_), _) => Err(format!("`{text}` is not a length of time\nhint: write a whole number and a unit, as in `\"30s\"`")),
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (unit, scale) =
            Self::UNITS.iter().find(|(_, scale)| millis != 0 && millis.is_multiple_of(u128::from(*scale))).copied().unwrap_or(("s", 1_000));
        write!(f, "{}{unit}", millis / u128::from(scale))
    }
}

/// A number of octets: `512B`, `64KiB`, `10MiB`, `2GiB`, or in powers of ten `10MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    const UNITS: [(&'static str, u64); 7] =
        [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000), ("B", 1)];

    /// A number of KiB.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// A number of MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let scale = Self::UNITS.iter().find(|(name, _)| *name == unit || (unit == "KB" && *name == "kB")).map(|(_, scale)| *scale);
        match (number.parse::<u64>(), scale) {
            (Ok(number), Some(scale)) => number.checked_mul(scale).map(Self).ok_or_else(|| format!("`{text}` is too large a size")),
            (Ok(_), None) if unit.is_empty() => Err(format!(
                "`{text}` has no unit\nhint: write `\"{text}B\"` for octets; units are `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB`"
            )),
            (Ok(_), None) => Err(format!(
                "`{unit}` is not a unit of size\nhint: units are `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB`, as in `\"10MiB\"`"
            )),
            (Err(_), _) => Err(format!("`{text}` is not a size\nhint: write a whole number and a unit, as in `\"10MiB\"`")),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, scale) = Self::UNITS.iter().find(|(_, scale)| self.0 != 0 && self.0.is_multiple_of(*scale)).copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / scale)
    }
}

/// The value of a header: visible ASCII, spaces, tabs and octets from 128 on; no line ends (RFC 9110 section 5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderText(pub HeaderValue);

impl FromStr for HeaderText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        HeaderValue::from_bytes(text.as_bytes())
            .map(Self)
            .map_err(|_| "a header's value cannot hold control characters or line ends".to_owned())
    }
}

impl fmt::Display for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}

impl From<HeaderText> for HeaderValue {
    fn from(text: HeaderText) -> Self {
        text.0
    }
}

/// The name of a header: a token (RFC 9110 section 5.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderKey(pub HeaderName);

impl FromStr for HeaderKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        HeaderName::from_bytes(text.as_bytes()).map(Self).map_err(|_| format!("`{text}` is not a header name"))
    }
}

/// Alphabetical, so that a map of headers is sent in a fixed order.
impl Ord for HeaderKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl PartialOrd for HeaderKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for HeaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], &text[end..])
}

macro_rules! text_value {
    ($type:ident, $expecting:literal, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text_or_number(deserializer, $expecting)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($type))
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text_value!(Duration, "a length of time such as \"30s\"", {
    "type": "string",
    "description": "A length of time with its unit: `500ms`, `30s`, `5m`, `1h`, `7d`.",
    "pattern": r"^([0-9]+(ms|s|m|h|d)|.*\$.*)$"
});
text_value!(Size, "a size such as \"10MiB\"", {
    "type": "string",
    "description": "A number of octets with its unit: `512B`, `64KiB`, `10MiB`, `2GiB`, `10MB`.",
    "pattern": r"^([0-9]+(B|KiB|MiB|GiB|kB|KB|MB|GB)|.*\$.*)$"
});
text_value!(HeaderText, "the text of a header's value", {
    "type": "string",
    "description": "The value of a header."
});
text_value!(HeaderKey, "the name of a header", {
    "type": "string",
    "description": "The name of a header."
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_print_as_they_are_written() {
        for text in ["500ms", "30s", "5m", "1h", "7d", "0s", "1500ms"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
        assert_eq!("90s".parse::<Duration>().unwrap().to_string(), "90s");
    }

    #[test]
    fn a_number_without_a_unit_is_refused_and_the_unit_named() {
        assert!("30".parse::<Duration>().unwrap_err().contains("\"30s\""));
        assert!("30".parse::<Size>().unwrap_err().contains("\"30B\""));
        assert!(serde_json::from_str::<Duration>("30").unwrap_err().to_string().contains("has no unit"));
    }

    #[test]
    fn sizes_count_in_twos_and_in_tens() {
        assert_eq!("10MiB".parse::<Size>().unwrap(), Size(10 << 20));
        assert_eq!("10MB".parse::<Size>().unwrap(), Size(10_000_000));
        assert_eq!(Size::kib(1).to_string(), "1KiB");
    }

    proptest! {
        #[test]
        fn any_size_survives_being_printed(n in 0..u64::MAX / 2) {
            prop_assert_eq!(Size(n).to_string().parse::<Size>().unwrap(), Size(n));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,20}") {
            let _ = text.parse::<Size>();
            let _ = text.parse::<Duration>();
        }
    }
}
