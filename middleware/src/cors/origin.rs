//! An origin as the `Origin` header spells it.

use std::borrow::Cow;

use http::{HeaderValue, Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// `*`, or an origin exactly as browsers send it (RFC 6454 section 6.2): scheme, host, and a port that is not the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum AllowedOrigin {
    Any,
    Exact(HeaderValue),
}

impl AllowedOrigin {
    pub(super) fn into_exact(self) -> Option<HeaderValue> {
        match self {
            Self::Any => None,
            Self::Exact(origin) => Some(origin),
        }
    }
}

impl TryFrom<String> for AllowedOrigin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let Some(sent) = as_sent(&text) else {
            return Err(format!("`{text}` is not an origin\nhint: write scheme and host, as in `https://app.example.com`, or `*` for all"));
        };
        if sent != text {
            return Err(format!("`{text}` is not an origin as browsers send it\nhint: write `{sent}`"));
        }
        HeaderValue::try_from(sent).map(Self::Exact).map_err(|_| format!("`{text}` is not an origin"))
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

impl Serialize for AllowedOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("*"),
            Self::Exact(origin) => serializer.serialize_str(origin.to_str().unwrap_or_default()),
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

    fn read(text: &str) -> Result<AllowedOrigin, String> {
        AllowedOrigin::try_from(text.to_owned())
    }

    #[test]
    fn origins_are_taken_as_browsers_send_them() {
        for text in
            ["https://example.com", "http://localhost:5173", "http://[::1]:8000", "https://xn--bcher-kva.example", "tauri://localhost"]
        {
            assert_eq!(read(text).unwrap(), AllowedOrigin::Exact(HeaderValue::from_str(text).unwrap()), "{text}");
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
        for text in ["", "example.com", "null", "https://", "https://*.example.com", "https://u@example.com", "/x", "https://a b"] {
            assert!(read(text).unwrap_err().contains("is not an origin\n"), "{text}");
        }
    }
}
