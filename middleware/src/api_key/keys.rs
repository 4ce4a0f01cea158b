//! Keys, and the file that has their hashes.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use aws_lc_rs::rand;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::BoxError;
use crate::auth::{CredentialSet, entries, is_scope};

/// A new key, and the line of the file that lets it in.
pub struct NewKey {
    /// The key: 43 characters that stand for 256 random bits.
    pub key: String,
    /// The line `name:hash:scopes`.
    pub line: String,
}

impl NewKey {
    /// Makes a key for `name`, with these scopes.
    ///
    /// ```
    /// use ziggurat_middleware::api_key::NewKey;
    ///
    /// let made = NewKey::new("deploy", &["read".to_owned(), "write".to_owned()]).unwrap();
    /// assert!(made.key.len() == 43 && made.line.starts_with("deploy:") && made.line.ends_with(":read write"));
    /// assert!(NewKey::new("two:names", &[]).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong with the name or a scope, or why there is no randomness.
    pub fn new(name: &str, scopes: &[String]) -> Result<Self, BoxError> {
        if name.is_empty() || name.trim() != name || name.starts_with('#') || name.contains(|c: char| c == ':' || c.is_control()) {
            return Err(
                format!("`{}` cannot be a name: it has no `:` and no line ends, and does not begin with `#`", name.escape_debug()).into()
            );
        }
        if let Some(scope) = scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(format!("`{}` cannot be a scope: it has no spaces, quotation marks or backslashes", scope.escape_debug()).into());
        }
        let mut bits = [0; 32];
        rand::fill(&mut bits)?;
        let key = BASE64_URL_SAFE_NO_PAD.encode(bits);
        let mut line = format!("{name}:");
        for octet in KeyDigest::of(key.as_bytes()).0 {
            write!(line, "{octet:02x}")?;
        }
        if !scopes.is_empty() {
            write!(line, ":{}", scopes.join(" "))?;
        }
        Ok(Self { key, line })
    }
}

/// The SHA-256 of a key. Two are compared in constant time.
#[derive(Clone, Copy, Eq)]
struct KeyDigest([u8; 32]);

impl KeyDigest {
    fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Reads 64 hexadecimal digits.
    fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let mut digits = text.chars();
        for octet in &mut digest {
            let (high, low) = (digits.next()?.to_digit(16)?, digits.next()?.to_digit(16)?);
            *octet = u8::try_from(high << 4 | low).ok()?;
        }
        digits.next().is_none().then_some(Self(digest))
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// Whose key it is, and what for.
pub(super) struct Key {
    pub(super) name: Arc<str>,
    scopes: Vec<String>,
}

impl Key {
    pub(super) fn has(&self, scopes: &[String]) -> bool {
        scopes.iter().all(|scope| self.scopes.contains(scope))
    }
}

/// The keys of one version of the file.
pub(super) struct Keys(HashMap<KeyDigest, Key>);

impl Keys {
    /// The entry of a key that a client has sent.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Key> {
        self.0.get(&KeyDigest::of(key))
    }
}

impl CredentialSet for Keys {
    const FILE: &'static str = "key file";
    const MAKE: &'static str = "make it with `ziggurat key NAME --to FILE`";
    const LINE: &'static str = "write lines as `ziggurat key NAME` prints them: `name:sha256` or `name:sha256:scopes`";

    fn parse(text: &str) -> (Self, Vec<String>) {
        let (entries, mut wrong) = entries(text, "key", |rest| {
            let (digest, scopes) = rest.split_once(':').unwrap_or((rest, ""));
            let digest = KeyDigest::parse(digest).ok_or("the hash is not a SHA-256 of 64 hexadecimal digits")?;
            let scopes: Vec<String> = scopes.split_whitespace().map(str::to_owned).collect();
            if scopes.iter().all(|scope| is_scope(scope)) {
                Ok((digest, scopes))
            } else {
                Err("a scope has a character that scopes cannot have")
            }
        });
        let mut keys = HashMap::<KeyDigest, Key>::new();
        let mut shared = Vec::new();
        for (name, (digest, scopes)) in entries {
            if let Some(other) = keys.get(&digest) {
                wrong.push(format!("`{name}` and `{}` have the same key", other.name));
                shared.push(digest);
            } else {
                keys.insert(digest, Key { name: name.into(), scopes });
            }
        }
        // Nobody knows whose it is.
        keys.retain(|digest, _| !shared.contains(digest));
        (Self(keys), wrong)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn retain_known(&mut self, previous: &Self) {
        self.0.retain(|digest, key| {
            let Some(known) = previous.0.get(digest).filter(|known| known.name == key.name) else { return false };
            key.scopes.retain(|scope| known.scopes.contains(scope));
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_key_is_let_in_by_its_line_with_its_name_and_scopes() {
        let made = NewKey::new("Jürgen's robot", &["read".into(), "users:write".into()]).unwrap();
        let (keys, wrong) = Keys::parse(&made.line);
        assert!(wrong.is_empty(), "{wrong:?}");
        let key = keys.get(made.key.as_bytes()).unwrap();
        assert_eq!(&*key.name, "Jürgen's robot");
        assert!(key.has(&["users:write".into(), "read".into()]) && !key.has(&["users".into()]) && key.has(&[]));
        assert!(!made.line.contains(&made.key));
        assert_ne!(NewKey::new("a", &[]).unwrap().key, NewKey::new("a", &[]).unwrap().key);
        for name in ["", "a:b", "#a", " a", "a\n"] {
            assert!(NewKey::new(name, &[]).is_err(), "{name}");
        }
        for scope in ["", "a b", "a\"b", "a\\b", "ä"] {
            assert!(NewKey::new("a", &[scope.into()]).is_err(), "{scope}");
        }
    }

    #[test]
    fn a_hash_in_capitals_is_the_same() {
        // `printf %s demo | sha256sum`
        let digest = "2A97516C354B68848CDBD8F54A226A0A55B21ED138E207AD6C5CBB9C00AA5AEA";
        let (keys, wrong) = Keys::parse(&format!("a:{digest}"));
        assert!(wrong.is_empty() && keys.get(b"demo").is_some() && keys.get(b"demo ").is_none());
    }

    #[test]
    fn a_key_of_two_names_lets_nobody_in() {
        let line = NewKey::new("a", &[]).unwrap();
        let (keys, wrong) = Keys::parse(&format!("{}\n{}", line.line, line.line.replacen('a', "b", 1)));
        assert_eq!((keys.len(), wrong.as_slice()), (0, &["`b` and `a` have the same key".to_owned()][..]));
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(text in "([a#:]{0,3}[0-9a-f]{0,66}[:a-z\" ]{0,9}\n?){0,4}") {
            let (keys, wrong) = Keys::parse(&text);
            prop_assert!(keys.len() > 0 || !wrong.is_empty());
        }
    }
}
