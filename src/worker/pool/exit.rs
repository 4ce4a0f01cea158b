//! How a process ended, in words.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::worker::boot::Ended;

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerExit {
    Exit(i32),
    Signal(i32),
    /// It lived on after its link had ended, and was killed.
    Unlinked,
    /// The process that had started it ended before, and nobody else knows.
    Unknown,
}

impl From<ExitStatus> for WorkerExit {
    fn from(status: ExitStatus) -> Self {
        Self::of(status.code(), status.signal())
    }
}

impl From<Ended> for WorkerExit {
    fn from(ended: Ended) -> Self {
        Self::of(ended.code, ended.signal)
    }
}

impl WorkerExit {
    const fn of(code: Option<i32>, signal: Option<i32>) -> Self {
        match (code, signal) {
            (Some(code), _) => Self::Exit(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

/// Follows "the worker ".
impl fmt::Display for WorkerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(9) => f.write_str("was killed (SIGKILL), possibly because memory ran out"),
            Self::Signal(signal) => match SIGNALS.iter().find(|(number, ..)| number == signal) {
                Some((_, name, "")) => write!(f, "was ended by {name}"),
                Some((_, name, meaning)) => write!(f, "was ended by {name} ({meaning})"),
                None => write!(f, "was ended by signal {signal}"),
            },
            Self::Unlinked => f.write_str("closed its link to the server and was killed"),
            Self::Unknown => f.write_str("ended in an unknown way: the process that had started it ended before"),
        }
    }
}

/// Signals that end processes, with their meaning where the name does not tell.
const SIGNALS: [(i32, &str, &str); 14] = [
    (1, "SIGHUP", ""),
    (2, "SIGINT", ""),
    (3, "SIGQUIT", ""),
    (4, "SIGILL", "illegal instruction"),
    (6, "SIGABRT", "abort"),
    (7, "SIGBUS", "bus error"),
    (8, "SIGFPE", ""),
    (11, "SIGSEGV", "invalid memory access"),
    (13, "SIGPIPE", ""),
    (14, "SIGALRM", ""),
    (15, "SIGTERM", ""),
    (24, "SIGXCPU", "limit of CPU time"),
    (25, "SIGXFSZ", "limit of file sizes"),
    (31, "SIGSYS", "forbidden system call"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_described_in_words() {
        for (exit, words) in [
            (WorkerExit::Exit(3), "ended with exit code 3"),
            (WorkerExit::Signal(9), "was killed (SIGKILL), possibly because memory ran out"),
            (WorkerExit::Signal(11), "was ended by SIGSEGV (invalid memory access)"),
            (WorkerExit::Signal(15), "was ended by SIGTERM"),
            (WorkerExit::Signal(64), "was ended by signal 64"),
        ] {
            assert_eq!(exit.to_string(), words);
        }
    }
}
