//! An origin as the `Origin` header spells it (RFC 6454 section 6.2).

use std::borrow::Cow;
use std::fmt;

use http::{HeaderValue, Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// An origin exactly as browsers send it: scheme, host, and a port that is not the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct SentOrigin(pub(crate) HeaderValue);

impl TryFrom<String> for SentOrigin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Some(sent) = as_sent(&text) else {
            return Err(format!("`{text}` is not an origin\nhint: write scheme and host, as in `https://app.example.com`"));
        };
        if sent != text {
            return Err(format!("`{text}` is not an origin as browsers send it\nhint: write `{sent}`"));
        }
        HeaderValue::try_from(sent).map(Self).map_err(|_| format!("`{text}` is not an origin"))
    }
}

/// What a browser sends for a page at this address. Other schemes than http stand for applications, `chrome-extension` for instance.
fn as_sent(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?.to_ascii_lowercase(), uri.authority()?);
    if authority.as_str().contains(['@', '*']) || uri.host()?.is_empty() {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    Some(match (authority.port_u16(), scheme.as_str()) {
        (None, _) | (Some(80), "http") | (Some(443), "https") => format!("{scheme}://{host}"),
        (Some(port), _) => format!("{scheme}://{host}:{port}"),
    })
}

impl fmt::Display for SentOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

impl Serialize for SentOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for SentOrigin {
    fn schema_name() -> Cow<'static, str> {
        "SentOrigin".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "An origin such as `https://app.example.com`." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SentOrigin, String> {
        SentOrigin::try_from(text.to_owned())
    }

    #[test]
    fn origins_are_taken_as_browsers_send_them() {
        for text in
            ["https://example.com", "http://localhost:5173", "http://[::1]:8000", "https://xn--bcher-kva.example", "tauri://localhost"]
        {
            assert_eq!(read(text).unwrap().0, text, "{text}");
        }
    }

    #[test]
    fn what_would_never_match_is_refused_with_what_would() {
        for text in ["https://example.com/", "HTTPS://Example.com", "https://example.com:443", "https://example.com/app?x"] {
            assert_eq!(
                read(text).unwrap_err(),
                format!("`{text}` is not an origin as browsers send it\nhint: write `https://example.com`")
            );
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in ["", "example.com", "null", "*", "https://", "https://*.example.com", "https://u@example.com", "/x", "https://a b"] {
            assert!(read(text).unwrap_err().contains("is not an origin\n"), "{text}");
        }
    }
}
