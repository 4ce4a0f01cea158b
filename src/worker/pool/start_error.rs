//! Why a worker did not start.

use std::fmt;
use std::io;

use ziggurat_middleware::Finding;

use super::exit::WorkerExit;
use crate::worker::boot::Refusal;

/// Why a worker did not start.
#[derive(Debug)]
pub(super) enum StartError {
    /// The worker says why it cannot serve the app.
    Refused(Refusal),
    /// It ended without a word.
    Died(WorkerExit),
    /// It did not say a word for too long.
    Silent,
    /// It could not be started at all.
    Io(io::Error),
}

impl StartError {
    /// What a worker says, as it came over the link.
    pub(super) fn refused(json: &[u8]) -> Self {
        let refusal = serde_json::from_slice::<Refusal>(json);
        let unread = || Finding::new("a worker cannot serve the app, and says so in words that the server does not know").at("app");
        Self::Refused(refusal.unwrap_or_else(|_| unread().into()))
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        let finding = match error {
            StartError::Refused(refusal) => return refusal,
            StartError::Died(ending) => {
                let finding = Finding::new(format!("a worker {ending} before the app was imported")).at("app");
                finding.hint("what it wrote to standard error stands above; is there code in the app's modules that ends the process?")
            }
            StartError::Silent => Finding::new("a worker did not say that it is ready").at("app"),
            StartError::Io(error) => Finding::new(format!("a worker process cannot be started: {error}")).at("workers"),
        };
        finding.into()
    }
}

/// Follows "the worker cannot be started again: ".
impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => {
                let (message, note) = refusal.said();
                f.write_str(message)?;
                note.iter().try_for_each(|note| write!(f, "\n{}", note.trim_end()))
            }
            Self::Died(ending) => write!(f, "it {ending} before the app was imported"),
            Self::Silent => f.write_str("it did not say that it is ready"),
            Self::Io(error) => error.fmt(f),
        }
    }
}
