//! The users of an htpasswd file.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::hash::Hash;
use crate::auth::{CredentialFile, CredentialSet, entries};

/// The file, read again when it has changed.
pub(super) type UserFile = CredentialFile<Users>;

/// The users of one version of the file.
pub(super) struct Users {
    hashes: Vec<Hash>,
    names: HashMap<String, usize>,
    seed: RandomState,
}

impl CredentialSet for Users {
    const FILE: &'static str = "user file";
    const MAKE: &'static str = "make it with `htpasswd -B -c FILE USER`";
    const LINE: &'static str = "write `name:hash` with a hash from `htpasswd -nB NAME` or `openssl passwd -6`";

    fn parse(text: &str) -> (Self, Vec<String>) {
        // A further colon begins a comment, as in nginx.
        let (entries, wrong) = entries(text, "user", |rest| Hash::parse(rest.split(':').next().unwrap_or_default()));
        let mut users = Self { hashes: Vec::new(), names: HashMap::new(), seed: RandomState::new() };
        for (name, hash) in entries {
            users.names.insert(name.to_owned(), users.hashes.len());
            users.hashes.push(hash);
        }
        (users, wrong)
    }

    fn len(&self) -> usize {
        self.names.len()
    }

    fn retain_known(&mut self, previous: &Self) {
        self.names.retain(|name, _| previous.names.contains_key(name));
    }
}

impl Users {
    /// Whether the user exists and the password is correct. An unknown name is checked against the hash of some user, always the same one, so that it
    /// takes as long as a known one.
    pub(super) fn verify(&self, name: &str, password: &str) -> bool {
        let known = self.names.get(name).copied();
        let any = usize::try_from(self.seed.hash_one(name)).unwrap_or(0) % self.hashes.len().max(1);
        let Some(hash) = self.hashes.get(known.unwrap_or(any)) else { return false };
        let matches = hash.matches(password);
        matches && known.is_some()
    }
}
