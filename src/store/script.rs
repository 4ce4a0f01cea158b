//! Scripts that Redis runs, each a decision that nothing interrupts.

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::resp::command;

/// A script, and the name that Redis knows it by.
pub(super) struct Script {
    text: &'static str,
    digest: Bytes,
}

/// A command that is answered: a script with its arguments, or a plain one.
pub(super) struct Question {
    words: Vec<Bytes>,
    /// The text of the script, for a Redis that does not know it yet.
    script: Option<&'static str>,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        let digest: String = Sha1::digest(text).iter().map(|octet| format!("{octet:02x}")).collect();
        Self { text, digest: digest.into() }
    }

    /// The script with these keys and arguments.
    pub(super) fn with(&self, keys: &[String], arguments: &[String]) -> Question {
        let mut words = vec![Bytes::from_static(b"EVALSHA"), self.digest.clone(), keys.len().to_string().into()];
        words.extend(keys.iter().chain(arguments).map(|word| Bytes::copy_from_slice(word.as_bytes())));
        Question { words, script: Some(self.text) }
    }
}

impl Question {
    pub(super) fn plain(words: Vec<Bytes>) -> Self {
        Self { words, script: None }
    }

    /// The command that names the script.
    pub(super) fn short(&self) -> Vec<u8> {
        command(&self.words)
    }

    /// The command with the whole script, which Redis remembers.
    pub(super) fn whole(&self) -> Vec<u8> {
        let Some(script) = self.script else { return self.short() };
        let mut words = self.words.clone();
        words.splice(..2, [Bytes::from_static(b"EVAL"), Bytes::from_static(script.as_bytes())]);
        command(&words)
    }
}
