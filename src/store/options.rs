//! The part `store` of `server` in the pipeline file.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use ziggurat_middleware::units::Duration;
use ziggurat_middleware::{Finding, Findings};

use super::url::StoreUrl;
use crate::upstream::TlsOptions;

/// The store, as an object or as its URL alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StoreSetting(pub(crate) StoreOptions);

/// A Redis that the processes of several machines share: `rate_limit` and `limit` count there, and `oidc` keeps there which sessions were ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Store")]
pub(crate) struct StoreOptions {
    /// Where Redis is: `redis://HOST:PORT/DATABASE`, `rediss://...` with TLS, or `unix:PATH` with perhaps `?db=DATABASE`. User and password may stand before the host, percent-encoded.
    pub(super) url: StoreUrl,

    /// The user (ACL). By default the one of the URL, or else Redis' own `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,

    /// The password, as in `"${REDIS_PASSWORD}"`. By default the one of the URL, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<Secret>,

    /// What the names of all entries begin with. Sites that share a Redis, but no counts, have different ones.
    #[serde(default = "prefix")]
    pub(super) prefix: String,

    /// How long a request waits for an answer. Without one in this time, the layer does what its `on_store_failure` says, and the connection is opened anew. At most `"1s"`.
    #[serde(default = "timeout")]
    pub(super) timeout: Duration,

    /// How long it may take to open a connection, with TLS and password. No request waits for it.
    #[serde(default = "connect_timeout")]
    pub(super) connect_timeout: Duration,

    /// TLS of `rediss://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<TlsOptions>,
}

/// A text that no message shows.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn prefix() -> String {
    "ziggurat:".to_owned()
}

const fn timeout() -> Duration {
    Duration(std::time::Duration::from_millis(30))
}

const fn connect_timeout() -> Duration {
    Duration::secs(1)
}

impl StoreOptions {
    fn at(url: StoreUrl) -> Self {
        Self { url, user: None, password: None, prefix: prefix(), timeout: timeout(), connect_timeout: connect_timeout(), tls: None }
    }

    /// User and password.
    pub(super) fn credentials(&self) -> (Option<&str>, Option<&str>) {
        let user = self.user.as_deref().or(self.url.user.as_deref());
        let password = self.password.as_ref().or(self.url.password.as_ref());
        (user, password.map(|password| password.0.as_str()))
    }
}

impl StoreSetting {
    /// Reports what contradicts itself, and times that are none.
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let StoreOptions { url, user, password, prefix, timeout, connect_timeout, tls } = &self.0;
        let both = [("user", user.is_some() && url.user.is_some()), ("password", password.is_some() && url.password.is_some())];
        for (field, _) in both.into_iter().filter(|(_, both)| *both) {
            findings.push(Finding::new(format!("the URL has a {field}, too")).at(field).hint("leave one of them out"));
        }
        if self.0.credentials().0.is_some() && self.0.credentials().1.is_none() {
            findings.push(Finding::new("a user needs a password").at("user").hint("add `password`, as in `\"${REDIS_PASSWORD}\"`"));
        }
        if prefix.len() > 64 || prefix.chars().any(|c| c.is_control() || c == ' ') {
            findings.push(Finding::new("`prefix` cannot begin the names of entries").at("prefix").hint("at most 64 octets without spaces"));
        }
        let longest = std::time::Duration::from_secs(1);
        if timeout.0.is_zero() || timeout.0 > longest {
            findings.push(Finding::new("every request may wait for `timeout`").at("timeout").hint("between `\"1ms\"` and `\"1s\"`"));
        }
        if connect_timeout.0.is_zero() {
            findings.push(Finding::new("no connection is opened in no time").at("connect_timeout").hint("write a time such as `\"1s\"`"));
        }
        if let Some(tls) = tls {
            tls.validate(findings);
            if !url.is_tls {
                findings.push(Finding::new("the URL says that there is no TLS").at("tls").hint("write `rediss://` in the URL"));
            }
        }
    }
}

impl<'de> Deserialize<'de> for StoreSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SettingVisitor;

        impl<'de> Visitor<'de> for SettingVisitor {
            type Value = StoreSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the URL of a Redis, or an object with `url`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<StoreSetting, E> {
                let url = StoreUrl::try_from(text.to_owned()).map_err(E::custom)?;
                Ok(StoreSetting(StoreOptions::at(url)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StoreSetting, A::Error> {
                StoreOptions::deserialize(MapAccessDeserializer::new(map)).map(StoreSetting)
            }
        }

        deserializer.deserialize_any(SettingVisitor)
    }
}

impl JsonSchema for StoreSetting {
    fn schema_name() -> Cow<'static, str> {
        "StoreSetting".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (url, options) = (generator.subschema_for::<StoreUrl>(), generator.subschema_for::<StoreOptions>());
        json_schema!({ "anyOf": [url, options] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(json: &str) -> StoreSetting {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_url_alone_is_a_store_with_the_defaults() {
        assert_eq!(setting(r#""redis://cache/2""#), setting(r#"{ "url": "redis://cache/2", "timeout": "30ms", "prefix": "ziggurat:" }"#));
    }

    #[test]
    fn user_and_password_stand_in_the_url_or_beside_it_and_are_never_shown() {
        let inside = setting(r#""redis://ann:p%40ss@cache""#);
        let beside = setting(r#"{ "url": "redis://cache", "user": "ann", "password": "p@ss" }"#);
        for setting in [inside, beside] {
            assert_eq!(setting.0.credentials(), (Some("ann"), Some("p@ss")));
            let shown = format!("{setting:?} {}", setting.0.url);
            assert!(!shown.contains("p@ss") && !shown.contains("p%40ss"), "{shown}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (json, said) in [
            (r#"{ "url": "redis://a:b@c", "password": "d" }"#, "the URL has a password, too"),
            (r#"{ "url": "redis://c", "user": "d" }"#, "a user needs a password"),
            (r#"{ "url": "redis://c", "timeout": "2s" }"#, "every request may wait"),
            (r#"{ "url": "redis://c", "timeout": "0ms" }"#, "every request may wait"),
            (r#"{ "url": "redis://c", "connect_timeout": "0s" }"#, "no connection"),
            (r#"{ "url": "redis://c", "prefix": "a b" }"#, "`prefix`"),
            (r#"{ "url": "redis://c", "tls": {} }"#, "there is no TLS"),
        ] {
            let mut findings = Findings::default();
            setting(json).validate(&mut findings);
            let found: Vec<String> = findings.into_iter().map(|finding| finding.to_string()).collect();
            assert!(found.len() == 1 && found[0].contains(said), "{json}: {found:?}");
        }
    }
}
