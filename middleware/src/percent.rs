//! A share in per cent, as the pipeline file writes it: `"20%"`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole number of per cent, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u8);

impl Percent {
    /// This share of `n`, rounded down.
    #[must_use]
    pub const fn of(self, n: u64) -> u64 {
        n.saturating_mul(self.0 as u64) / 100
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|number| number.parse::<u8>().ok()).filter(|number| *number <= 100);
        number
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a share\nhint: write a whole number from 0 to 100 and `%`, as in `\"20%\"`"))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::options::from_text(deserializer, "a share such as \"20%\"")
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A share in per cent: `0%` to `100%`.",
            "pattern": r"^((100|[0-9]{1,2})%|.*\$.*)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_numbers_up_to_a_hundred() {
        assert_eq!("20%".parse::<Percent>().unwrap().of(9), 1);
        for wrong in ["20", "101%", "-1%", "%", "0.5%", ""] {
            assert!(wrong.parse::<Percent>().unwrap_err().contains("`%`"), "{wrong}");
        }
    }
}
