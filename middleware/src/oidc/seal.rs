//! Cookies that only this program can read and write.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{BoxError, Finding, Result};

/// The most octets of a sealed value: browsers keep no longer cookies.
pub(super) const LONGEST: usize = 3800;

/// The shortest secret, in characters.
pub(super) const SHORTEST: usize = 32;

/// A secret in a file. It has no readable `Debug`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Encrypts and authenticates values (AES-256-GCM) for one purpose.
pub(super) struct Sealer(Vec<RandomizedNonceKey>);

impl Sealer {
    /// The first secret seals; all of them open. Values that were sealed for another purpose are not opened.
    pub(super) fn new(secrets: &[Secret], purpose: &[&str]) -> Result<Self> {
        let failed = |_| Finding::new("the keys of the cookies cannot be derived");
        let mut info = Vec::new();
        for part in purpose {
            info.extend((part.len() as u64).to_le_bytes());
            info.extend(part.as_bytes());
        }
        let keys = secrets.iter().map(|secret| {
            let mut key = [0; 32];
            let extracted = Salt::new(HKDF_SHA256, b"ziggurat oidc").extract(secret.0.as_bytes());
            extracted.expand(&[&info], HKDF_SHA256).and_then(|derived| derived.fill(&mut key)).map_err(failed)?;
            RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(failed)
        });
        Ok(Self(keys.collect::<Result<_>>()?))
    }

    pub(super) fn seal(&self, value: &impl Serialize) -> Result<String, BoxError> {
        let key = self.0.first().ok_or("there is no secret")?;
        let mut sealed = serde_json::to_vec(value)?;
        let nonce = key.seal_in_place_append_tag(Aad::empty(), &mut sealed)?;
        let text = BASE64_URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &sealed].concat());
        if text.len() > LONGEST { Err(format!("{} octets do not fit into a cookie", text.len()).into()) } else { Ok(text) }
    }

    pub(super) fn open<T: DeserializeOwned>(&self, text: &str) -> Option<T> {
        if text.len() > LONGEST {
            return None;
        }
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        self.0.iter().find_map(|key| {
            let mut opened = sealed.to_vec();
            let opened = key.open_in_place(Nonce::try_assume_unique_for_key(nonce).ok()?, Aad::empty(), &mut opened).ok()?;
            serde_json::from_slice(opened).ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealer(secrets: &[&str], purpose: &str) -> Sealer {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret((*secret).to_owned())).collect();
        Sealer::new(&secrets, &[purpose, "x"]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_with_any_of_the_secrets() {
        let (old, both) = (sealer(&["old"], "session"), sealer(&["new", "old"], "session"));
        let sealed = old.seal(&"ann").unwrap();
        assert_eq!(both.open::<String>(&sealed).as_deref(), Some("ann"));
        assert_eq!(sealer(&["new"], "session").open::<String>(&sealed), None);
        assert_eq!(sealer(&["old"], "login").open::<String>(&sealed), None);
        assert_eq!(old.open::<String>(&both.seal(&"ann").unwrap()), None);
        assert_ne!(sealed, old.seal(&"ann").unwrap());
        assert!(old.seal(&"x".repeat(LONGEST)).is_err());
        assert_eq!(format!("{:?}", Secret("s3cr3t".into())), "[secret]");
    }

    proptest! {
        #[test]
        fn a_value_that_was_changed_does_not_open(at in 0_usize..60, bit in 0_u32..8) {
            let sealer = sealer(&["secret"], "session");
            let mut octets = BASE64_URL_SAFE_NO_PAD.decode(sealer.seal(&"a value of some octets").unwrap()).unwrap();
            let at = at % octets.len();
            octets[at] ^= 1 << bit;
            prop_assert_eq!(sealer.open::<String>(&BASE64_URL_SAFE_NO_PAD.encode(octets)), None);
        }

        #[test]
        fn any_text_is_no_value(text in "[A-Za-z0-9_=-]{0,80}") {
            prop_assert_eq!(sealer(&["secret"], "session").open::<serde_json::Value>(&text), None);
        }
    }
}
