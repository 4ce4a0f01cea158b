//! What a token says: its claims (RFC 7519 section 4).

use std::time::Duration;

use serde_json::{Map, Value};

/// The claims of a token whose signature is right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(pub(crate) Map<String, Value>);

/// What tokens have to say.
pub(crate) struct Expectation {
    pub(crate) issuer: String,
    /// One of them is meant. Empty for all.
    pub(crate) audience: Vec<String>,
    /// How far clocks may differ.
    pub(crate) leeway: Duration,
}

impl Expectation {
    /// Why a token with these claims is not valid now, if it is not.
    pub(super) fn check(&self, claims: &Claims, now: Duration) -> Result<(), &'static str> {
        let (now, leeway) = (now.as_secs_f64(), self.leeway.as_secs_f64());
        let expires = claims.time("exp")?.ok_or("it never expires")?;
        if now >= expires + leeway {
            return Err("it has expired");
        }
        for (name, refusal) in [("nbf", "it is not valid yet"), ("iat", "it was issued in the future")] {
            if claims.time(name)?.is_some_and(|time| time > now + leeway) {
                return Err(refusal);
            }
        }
        if claims.text("iss") != Some(&self.issuer) {
            return Err("it is from another issuer");
        }
        if !self.audience.is_empty() && !self.audience.iter().any(|audience| claims.has("aud", audience)) {
            return Err("it is for another audience");
        }
        Ok(())
    }
}

impl Claims {
    /// A claim by its name, or by its path (RFC 6901) if that begins with a slash: `/realm_access/roles`.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        match name.strip_prefix('/') {
            None => self.0.get(name),
            Some(path) => {
                let unescaped = |part: &str| part.replace("~1", "/").replace("~0", "~");
                let (first, rest) = path.split_once('/').map_or((path, ""), |(first, _)| (first, &path[first.len()..]));
                self.0.get(&unescaped(first))?.pointer(rest)
            }
        }
    }

    /// The text of a claim.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// Whether a claim is this text, or a list that has it.
    pub(crate) fn has(&self, name: &str, text: &str) -> bool {
        self.get(name).is_some_and(|value| has_text(value, text))
    }

    /// Whether the token has this scope (RFC 8693 section 4.2; some providers have a list, or call it `scp`).
    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        ["scope", "scp"]
            .iter()
            .any(|name| self.has(name, scope) || self.text(name).is_some_and(|scopes| scopes.split(' ').any(|own| own == scope)))
    }

    /// A time in seconds since 1970.
    pub(crate) fn time(&self, name: &str) -> Result<Option<f64>, &'static str> {
        match self.0.get(name) {
            None => Ok(None),
            Some(time) => time.as_f64().filter(|time| time.is_finite()).map(Some).ok_or("a time in it is malformed"),
        }
    }
}

/// Whether the value of a claim is this text, or a list that has it.
pub(crate) fn has_text(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        Value::Array(list) => list.iter().any(|one| one.as_str() == Some(text)),
        Value::Bool(own) => text == if *own { "true" } else { "false" },
        Value::Number(own) => own.to_string() == text,
        _ => false,
    }
}

/// The value of a claim as that of a header: text, numbers and booleans as they are, lists with commas.
pub(crate) fn header_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(list) if !list.iter().any(Value::is_array) => {
            Some(list.iter().map(header_text).collect::<Option<Vec<_>>>()?.join(","))
        }
        _ => None,
    }
}

/// The value of a claim as a user: text that is not empty and has no control characters.
pub(crate) fn user_text(value: &Value) -> Option<String> {
    header_text(value).filter(|user| !user.is_empty() && !user.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        Claims(value.as_object().unwrap().clone())
    }

    #[test]
    fn times_issuer_and_audience_are_judged_with_some_leeway() {
        let expected =
            Expectation { issuer: "https://id.test".into(), audience: vec!["a".into(), "b".into()], leeway: Duration::from_secs(30) };
        let now = Duration::from_secs(1_000_000);
        let check = |change: Value| {
            let mut own = json!({ "iss": "https://id.test", "aud": "a", "exp": 1_000_010 });
            own.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            own.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            expected.check(&claims(own), now)
        };
        for sound in [
            json!({}),
            json!({ "exp": 999_971 }),
            json!({ "exp": 999_970.5 }),
            json!({ "nbf": 1_000_030, "iat": 1_000_030 }),
            json!({ "aud": ["x", "b"] }),
        ] {
            assert_eq!(check(sound.clone()), Ok(()), "{sound}");
        }
        for (wrong, reason) in [
            (json!({ "exp": null }), "never expires"),
            (json!({ "exp": 999_970 }), "expired"),
            (json!({ "exp": -1 }), "expired"),
            (json!({ "exp": "1000010" }), "malformed"),
            (json!({ "exp": [1_000_010] }), "malformed"),
            (json!({ "nbf": 1_000_031 }), "not valid yet"),
            (json!({ "nbf": true }), "malformed"),
            (json!({ "iat": 1_000_031 }), "in the future"),
            (json!({ "iss": null }), "another issuer"),
            (json!({ "iss": "https://id.test/" }), "another issuer"),
            (json!({ "iss": ["https://id.test"] }), "another issuer"),
            (json!({ "aud": null }), "another audience"),
            (json!({ "aud": "A" }), "another audience"),
            (json!({ "aud": [] }), "another audience"),
            (json!({ "aud": { "a": 1 } }), "another audience"),
        ] {
            assert!(check(wrong.clone()).is_err_and(|error| error.contains(reason)), "{wrong}");
        }
    }

    #[test]
    fn claims_have_names_or_paths_and_become_headers() {
        let claims = claims(json!({
            "email": "ann@a.test", "n": 7, "ok": true, "roles": ["a", "b", 3], "deep": { "x/y": { "z": ["admin"] } }, "mixed": [{}],
            "scope": "read write:all", "https://a.test/c": "url"
        }));
        let header = |name: &str| claims.get(name).and_then(header_text);
        assert_eq!(header("email").as_deref(), Some("ann@a.test"));
        assert_eq!((header("n").as_deref(), header("ok").as_deref(), header("roles").as_deref()), (Some("7"), Some("true"), Some("a,b,3")));
        assert_eq!(
            (header("mixed"), header("deep"), header("none"), header("https://a.test/c").as_deref()),
            (None, None, None, Some("url"))
        );
        assert!(claims.has("/deep/x~1y/z", "admin") && !claims.has("/deep/x/y/z", "admin") && claims.has("/email", "ann@a.test"));
        assert!(claims.has_scope("read") && claims.has_scope("write:all") && !claims.has_scope("write") && !claims.has_scope(""));
        assert!(claims.has("ok", "true") && claims.has("n", "7") && !claims.has("roles", "3"));
    }
}
