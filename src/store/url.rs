//! Where a store is.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::Uri;
use percent_encoding::percent_decode_str;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::options::Secret;
use crate::upstream::Host;

/// The URL of a Redis. It is shown without user and password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct StoreUrl {
    text: Secret,
    pub(super) is_tls: bool,
    pub(super) host: Host,
    pub(super) database: u32,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

const HINT: &str = "write `redis://HOST:PORT/DATABASE`, `rediss://...` for TLS, or `unix:PATH`";
const PORT: u16 = 6379;

impl StoreUrl {
    fn socket(text: String) -> Result<Self, String> {
        let path = text.strip_prefix("unix:").unwrap_or_default();
        let (path, database) = match path.split_once("?db=") {
            Some((path, database)) => (path, number(database)?),
            None => (path, 0),
        };
        if path.is_empty() || path.contains('\0') {
            return Err("`unix:` is followed by the path of a socket, as in `unix:run/redis.sock`".to_owned());
        }
        let host = Host::Unix(path.into());
        Ok(Self { text: Secret(text), is_tls: false, host, database, user: None, password: None })
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = String;

    /// No message repeats the text: there may be a password in it.
    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with("unix:") {
            return Self::socket(text);
        }
        let is_tls = match text.split_once("://") {
            Some(("redis", _)) => false,
            Some(("rediss", _)) => true,
            Some((scheme, _)) => return Err(format!("`{}` is not the scheme of a store\nhint: {HINT}", scheme.escape_debug())),
            None => return Err(format!("the URL of the store has no scheme\nhint: {HINT}")),
        };
        let uri: Uri =
            text.parse().map_err(|_| format!("the URL of the store cannot be read\nhint: {HINT}; in a password, write `%40` for `@`"))?;
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| format!("the URL of the store has no host\nhint: {HINT}"))?;
        if uri.query().is_some() || text.contains('#') {
            return Err(format!("the URL of a store ends with its database\nhint: {HINT}"));
        }
        let (credentials, _) = authority.as_str().rsplit_once('@').unwrap_or_default();
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (user, password) = (decoded(user)?, decoded(password)?);
        let after_host = authority.as_str().rsplit_once(authority.host()).map_or("", |(_, port)| port);
        let port = match (authority.port_u16(), after_host) {
            (Some(port), _) if port != 0 => port,
            (None, "") => PORT,
            _ => return Err("the port of the store is none".to_owned()),
        };
        let name = authority.host();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let host = match bare.parse::<IpAddr>() {
            Ok(ip) => Host::Ip(SocketAddr::new(ip, port)),
            Err(_) => Host::Name(name.to_ascii_lowercase().into(), port),
        };
        let database = match uri.path().trim_start_matches('/') {
            "" => 0,
            database => number(database)?,
        };
        Ok(Self { text: Secret(text), is_tls, host, database, user, password: password.map(Secret) })
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("the database of a store is a number, as in `redis://localhost/0`\nhint: {HINT}"))
}

fn decoded(text: &str) -> Result<Option<String>, String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "user and password of the store are not UTF-8".to_owned())?;
    Ok(Some(decoded.into_owned()).filter(|text| !text.is_empty()))
}

impl From<StoreUrl> for String {
    fn from(url: StoreUrl) -> Self {
        url.text.0
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        match &self.host {
            Host::Name(name, port) => write!(f, "{scheme}://{name}:{port}/{}", self.database),
            Host::Ip(address) => write!(f, "{scheme}://{address}/{}", self.database),
            Host::Unix(path) if self.database == 0 => write!(f, "unix:{}", path.display()),
            Host::Unix(path) => write!(f, "unix:{}?db={}", path.display(), self.database),
        }
    }
}

impl JsonSchema for StoreUrl {
    fn schema_name() -> Cow<'static, str> {
        "StoreUrl".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(rediss?://.+|unix:.+|.*\$.*)$",
            "examples": ["redis://redis.internal:6379/0", "rediss://redis.internal", "unix:run/redis.sock"]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Result<StoreUrl, String> {
        text.to_owned().try_into()
    }

    #[test]
    fn urls_are_shown_without_user_and_password() {
        for (text, shown) in [
            ("redis://cache", "redis://cache:6379/0"),
            ("redis://:s3cr3t@Cache:7000/3", "redis://cache:7000/3"),
            ("rediss://ann:s3cr3t@[::1]:6380", "rediss://[::1]:6380/0"),
            ("redis://10.0.0.5/", "redis://10.0.0.5:6379/0"),
            ("unix:run/redis.sock", "unix:run/redis.sock"),
            ("unix:/run/redis.sock?db=4", "unix:/run/redis.sock?db=4"),
        ] {
            let url = url(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(String::from(url), text);
        }
    }

    #[test]
    fn credentials_are_decoded() {
        let url = url("redis://a%3Ab:p%40s%2Fs%3Aw@cache").unwrap();
        assert_eq!((url.user.unwrap().as_str(), url.password.unwrap().0.as_str()), ("a:b", "p@s/s:w"));
    }

    #[test]
    fn what_is_no_store_is_refused_without_a_word_of_its_text() {
        for (text, said) in [
            ("s3cr3t", "no scheme"),
            ("http://s3cr3t", "`http` is not the scheme"),
            ("redis://", "cannot be read"),
            ("redis://:s3cr3t@", "cannot be read"),
            ("redis://ann:s3c/r3t@cache", "none"),
            ("redis://cache:0", "the port"),
            ("redis://cache:s3cr3t", "the port"),
            ("redis://cache/s3cr3t", "is a number"),
            ("redis://cache/0?password=s3cr3t", "ends with its database"),
            ("unix:", "the path of a socket"),
            ("unix:a?db=b", "is a number"),
        ] {
            let refused = url(text).unwrap_err();
            assert!(refused.contains(said) && !refused.contains("s3cr3t"), "{text}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(rediss?://|unix:)?[a-z0-9:@/%.\\[\\]?=]{0,24}|.{0,12}") {
            if let Ok(read) = url(&text) {
                prop_assert!(url(&read.to_string()).is_ok());
                prop_assert_eq!(String::from(read), text);
            }
        }
    }
}
