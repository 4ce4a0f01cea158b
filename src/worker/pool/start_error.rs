//! Why a worker did not start.

use std::fmt;
use std::io;
use std::time::Duration;

use ziggurat_middleware::Finding;

use super::exit::WorkerExit;
use crate::worker::boot::Refusal;

/// Why a worker did not start.
#[derive(Debug)]
pub(super) enum StartError {
    /// It reports why it cannot serve the app.
    Refused(Refusal),
    /// It ended without a report.
    Died(WorkerExit),
    /// It did not report within this time.
    Late(Duration),
    /// The stack is not needed any more.
    Abandoned,
    /// Its process could not be started.
    Io(io::Error),
}

impl StartError {
    /// The report of a worker, as it came over the link.
    pub(super) fn refused(json: &[u8]) -> Self {
        let refusal = serde_json::from_slice::<Refusal>(json);
        let unread = || Finding::new("a worker cannot serve the app, and its report cannot be parsed").at("app");
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
            StartError::Died(exit) => {
                let finding = Finding::new(format!("a worker {exit} before the app was imported")).at("app");
                finding.hint("its standard error is above; does a module of the app end the process?")
            }
            StartError::Late(limit) => {
                let finding =
                    Finding::new(format!("the app was not imported within {} s (`start_timeout`)", limit.as_secs_f64())).at("app");
                finding.hint("the log shows where the import was; a longer `start_timeout` is for apps that need more time")
            }
            StartError::Abandoned => Finding::new("given up before the app was imported").at("app"),
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
                let (message, note) = refusal.text();
                f.write_str(message)?;
                note.iter().try_for_each(|note| write!(f, "\n{}", note.trim_end()))
            }
            Self::Died(exit) => write!(f, "it {exit} before the app was imported"),
            Self::Late(limit) => write!(f, "it did not import the app within {} s (`start_timeout`)", limit.as_secs_f64()),
            Self::Abandoned => f.write_str("given up before the app was imported"),
            Self::Io(error) => error.fmt(f),
        }
    }
}
