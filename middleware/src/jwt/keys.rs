//! Keys that verify signatures: a JSON Web Key Set (RFC 7517).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm as Signature, DecodingKey};
use serde_json::Value;

use super::algorithm::Algorithm;
use crate::auth::CredentialSet;

/// The most keys of a set that are read.
const MOST_KEYS: usize = 100;

/// The shortest secret, in octets (RFC 7518 section 3.2).
const SHORTEST_SECRET: usize = 32;

/// A set of keys, without those that verify no signatures.
#[derive(Clone, Default)]
pub(crate) struct KeySet(Vec<Key>);

/// One key. It has no `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    /// The only algorithm that it is meant for.
    algorithm: Option<KeyAlgorithm>,
    kind: KeyKind,
    pub(super) key: DecodingKey,
}

/// What a key is. It decides which algorithms it can be used with: a public key is never the secret of an HMAC.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
    Secret,
}

impl KeySet {
    /// Reads a set. Keys of other kinds and for other uses are left out, and secrets where they are not `may_be_secret`: what everybody can fetch is no secret.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, without repeating any of it.
    pub(crate) fn parse(text: &[u8], may_be_secret: bool) -> Result<Self, String> {
        let set: Value =
            serde_json::from_slice(text).map_err(|error| format!("it is not JSON: line {}, column {}", error.line(), error.column()))?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or("it has no list `keys`")?;
        if keys.len() > MOST_KEYS {
            return Err(format!("it has more than {MOST_KEYS} keys"));
        }
        let keys = keys.iter().filter_map(Key::read).filter(|key| may_be_secret || key.kind != KeyKind::Secret);
        Ok(Self(keys.collect()))
    }

    /// The keys for a token with this algorithm, and this key id if it names one. The flag tells whether one has that very id.
    pub(super) fn find<'k>(&'k self, id: Option<&'k str>, algorithm: Algorithm) -> (impl Iterator<Item = &'k Key>, bool) {
        let is_known = id.is_none_or(|id| self.0.iter().any(|key| key.id.as_deref() == Some(id)));
        let may_be = move |key: &&Key| id.is_none_or(|id| key.id.as_deref().is_none_or(|known| known == id)) && key.fits(algorithm);
        (self.0.iter().filter(may_be), is_known)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Key {
    fn read(key: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(key.clone()).ok()?;
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => KeyKind::Rsa,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => KeyKind::P256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => KeyKind::P384,
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => KeyKind::Ed25519,
            AlgorithmParameters::OctetKey(_) => KeyKind::Secret,
            _ => return None,
        };
        let (common, key) = (&jwk.common, DecodingKey::from_jwk(&jwk).ok()?);
        let is_for_signatures = common.public_key_use.as_ref().is_none_or(|r#use| *r#use == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let is_strong = kind != KeyKind::Secret || key.try_get_as_bytes().is_ok_and(|secret| secret.len() >= SHORTEST_SECRET);
        (is_for_signatures && is_strong).then(|| Self { id: common.key_id.clone(), algorithm: common.key_algorithm, kind, key })
    }

    fn fits(&self, Algorithm(algorithm): Algorithm) -> bool {
        let kind = match algorithm {
            Signature::ES256 => KeyKind::P256,
            Signature::ES384 => KeyKind::P384,
            Signature::EdDSA => KeyKind::Ed25519,
            Signature::HS256 | Signature::HS384 | Signature::HS512 => KeyKind::Secret,
            _ => KeyKind::Rsa,
        };
        self.kind == kind && self.algorithm.is_none_or(|own| own == algorithm.into())
    }
}

impl CredentialSet for KeySet {
    const FILE: &'static str = "key set";
    const MAKE: &'static str = "write the path of a JSON Web Key Set, or the URL of one";
    const LINE: &'static str = "it is a JSON Web Key Set (RFC 7517): `{ \"keys\": [{ \"kty\": \"RSA\", ... }] }`";
    const KEPT: &'static str = "the previous keys stay";

    fn parse(text: &str) -> (Self, Vec<String>) {
        match Self::parse(text.as_bytes(), true) {
            Ok(keys) if keys.len() == 0 => (keys, vec!["it has no key that verifies signatures".to_owned()]),
            Ok(keys) => (keys, Vec::new()),
            Err(error) => (Self::default(), vec![error]),
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn retain_known(&mut self, previous: &Self) {
        // A file that is just being written is no reason to lock everybody out.
        self.0.clone_from(&previous.0);
    }
}
