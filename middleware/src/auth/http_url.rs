//! Another server that a layer asks: its address, and the client.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::options::from_text;
use crate::{Client, Context, Finding, Result};

/// The client for servers that show certificates of the authorities in the file `ca`, or of those of the system.
pub(crate) fn client(context: &Context, ca: Option<&PathBuf>) -> Result<Client> {
    let client = context.client()?;
    match ca {
        Some(ca) => client.trusting(&context.resolve(ca)).map_err(|finding: Finding| finding.at("ca")),
        None => Ok(client),
    }
}

/// An absolute URL with `http` or `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpUrl(pub(crate) Uri);

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str = "hint: write a whole URL, as in `https://auth.example.com/check`";
        let uri: Uri = text.parse().map_err(|error| format!("`{text}` is not a URL: {error}\n{HINT}"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if !authority.as_str().contains('@') => Ok(Self(uri)),
            (Some("http" | "https"), Some(_)) => Err(format!("a URL of a server has no user\n{HINT}")),
            _ => Err(format!("`{text}` does not begin with `http://` or `https://`\n{HINT}")),
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for HttpUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a URL such as \"https://auth.example.com/check\"")
    }
}

impl JsonSchema for HttpUrl {
    fn schema_name() -> Cow<'static, str> {
        "HttpUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A URL that begins with `http://` or `https://`.",
            "pattern": r"^(https?://.+|.*\$.*)$"
        })
    }
}
