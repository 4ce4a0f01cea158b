//! Why a worker did not start.

use std::fmt;
use std::io;

use ziggurat_middleware::Finding;

use super::ending::Ending;
use crate::worker::boot::Refusal;

/// Why a worker did not start.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The worker says why it cannot serve the app.
    Refused(Finding),
    /// It ended without a word.
    Died(Ending),
    /// It did not say a word for too long.
    Silent,
    /// It could not be started at all.
    Io(io::Error),
}

impl Trouble {
    /// What a worker says, as it came over the link.
    pub(super) fn refused(json: &[u8]) -> Self {
        let refusal = serde_json::from_slice::<Refusal>(json);
        let unread = || Finding::new("a worker cannot serve the app, and says so in words that the server does not know").at("app");
        Self::Refused(refusal.map_or_else(|_| unread(), Finding::from))
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Trouble> for Finding {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(finding) => finding,
            Trouble::Died(ending) => {
                let finding = Self::new(format!("a worker {ending} before the app was imported")).at("app");
                finding.hint("what it wrote to standard error stands above; is there code in the app's modules that ends the process?")
            }
            Trouble::Silent => Self::new("a worker did not say that it is ready").at("app"),
            Trouble::Io(error) => Self::new(format!("a worker process cannot be started: {error}")).at("workers"),
        }
    }
}

/// Follows "the worker cannot be started again: ".
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(finding) => {
                f.write_str(&finding.message)?;
                finding.note.iter().try_for_each(|note| write!(f, "\n{}", note.trim_end()))
            }
            Self::Died(ending) => write!(f, "it {ending} before the app was imported"),
            Self::Silent => f.write_str("it did not say that it is ready"),
            Self::Io(error) => error.fmt(f),
        }
    }
}
