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

/// A URL, or a Unix socket with a path: `unix:/run/auth.sock:/check`, as nginx writes it behind `http://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// Of a socket, one of `localhost`.
    pub(crate) url: HttpUrl,
    pub(crate) socket: Option<PathBuf>,
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str =
            "hint: write `unix:`, the path of the socket, and `:` with the path of the URL, as in `unix:/run/auth.sock:/check`";
        if text.starts_with("http://unix:") {
            return Err(format!("`{}` begins with a scheme\n{HINT}", text.escape_debug()));
        }
        let Some(named) = text.strip_prefix("unix:") else { return Ok(Self { url: text.parse()?, socket: None }) };
        let (socket, target) = match named.split_once(":/") {
            Some((socket, target)) => (socket, target),
            None => (named, ""),
        };
        if socket.is_empty() || socket.starts_with("//") || socket.contains('\0') {
            return Err(format!("`{}` names no socket\n{HINT}", text.escape_debug()));
        }
        let url = format!("http://localhost/{target}").parse::<HttpUrl>();
        let url = url.map_err(|_| format!("`/{}` is not the path of a URL\n{HINT}", target.escape_debug()))?;
        Ok(Self { url, socket: Some(socket.into()) })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            None => self.url.fmt(f),
            Some(socket) => write!(f, "unix:{}:{}", socket.display(), self.url.0.path_and_query().map_or("/", |target| target.as_str())),
        }
    }
}

impl<'de> Deserialize<'de> for ServerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a URL such as \"https://auth.example.com/check\", or a socket such as \"unix:/run/auth.sock:/check\"")
    }
}

impl JsonSchema for ServerUrl {
    fn schema_name() -> Cow<'static, str> {
        "ServerUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A URL that begins with `http://` or `https://`, or `unix:PATH:/PATH-OF-THE-URL`.",
            "pattern": r"^(https?://.+|unix:.+|.*\$.*)$"
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_url_or_a_socket_with_a_path() {
        let read = |text: &str| {
            let server: ServerUrl = text.parse().unwrap();
            assert_eq!(server.to_string().parse(), Ok(server.clone()), "{text}");
            (server.url.to_string(), server.socket.map(|socket| socket.display().to_string()))
        };
        let localhost = |target: &str| format!("http://localhost{target}");
        assert_eq!(read("https://auth.test/check?a"), ("https://auth.test/check?a".to_owned(), None));
        assert_eq!(read("unix:/run/auth.sock:/check?a=b"), (localhost("/check?a=b"), Some("/run/auth.sock".to_owned())));
        assert_eq!(read("unix:run/auth.sock"), (localhost("/"), Some("run/auth.sock".to_owned())));
        for wrong in
            ["unix:", "unix::/check", "unix://run/auth.sock", "unix:/run/a.sock:/a b", "/run/auth.sock", "http://unix:/run/auth.sock"]
        {
            assert!(wrong.parse::<ServerUrl>().is_err(), "{wrong}");
        }
    }
}
