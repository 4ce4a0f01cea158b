//! Writes lines to their output: a bounded buffer, and one thread that empties it.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::append::append_to;
use crate::Context;

/// How many octets may wait. Lines that come while the buffer is full are dropped and counted.
const CAPACITY: usize = 1 << 20;
/// With so many octets waiting, the thread is woken early.
const WAKE_AT: usize = CAPACITY / 4;
/// How long the thread waits for more lines, so that one write serves many.
const FLUSH_DELAY: Duration = Duration::from_millis(10);
/// How long the end of the program waits for a stuck disk or pipe.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The option `to`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub(super) enum Output {
    #[default]
    Stdout,
    Stderr,
    File(String),
}

/// Takes lines and hands them to the thread that writes.
pub(super) struct Sink(Arc<Buffer>);

impl Sink {
    /// Opens the output and starts the thread. `lost` gives the line that states how many lines were dropped.
    pub(super) fn open(output: Output, context: &Context, lost: fn(u64) -> String) -> io::Result<Self> {
        let target = OpenOutput::open(output, context)?;
        let buffer = Arc::new(Buffer::default());
        let writer = Arc::clone(&buffer);
        thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.drain(target, lost))?;
        Ok(Self(buffer))
    }

    /// Queues a line. Never waits for the output.
    pub(super) fn push(&self, line: &[u8]) {
        self.0.push(line);
    }

    /// Opens the file again by its name, once the lines before are written.
    pub(super) fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.wake.notify_one();
    }

    /// Writes everything that waits, and waits for that, at most [`CLOSE_TIMEOUT`].
    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.wake.notify_one();
        drop(self.0.ended.wait_timeout_while(state, CLOSE_TIMEOUT, |state| !state.ended));
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_one();
    }
}

#[derive(Default)]
struct Buffer {
    state: Mutex<Queue>,
    wake: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    lost: u64,
    reopen: bool,
    closed: bool,
    ended: bool,
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        let before = state.lines.len();
        if state.closed || before + line.len() > CAPACITY {
            state.lost += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        let now = state.lines.len();
        drop(state);
        if before == 0 || (before < WAKE_AT && now >= WAKE_AT) {
            self.wake.notify_one();
        }
    }

    /// Writes queued lines until the sink is closed.
    fn drain(&self, mut target: OpenOutput, lost: fn(u64) -> String) {
        let mut lines = Vec::new();
        let mut missing = 0;
        loop {
            let mut state = self.gathered();
            lines.clear();
            std::mem::swap(&mut lines, &mut state.lines);
            missing += std::mem::take(&mut state.lost);
            let (reopen, closed) = (std::mem::take(&mut state.reopen), state.closed);
            drop(state);
            missing += target.write(&lines);
            if missing > 0 && !target.is_failing && target.write(lost(missing).as_bytes()) == 0 {
                missing = 0;
            }
            if reopen {
                target.reopen();
            }
            if closed {
                self.lock().ended = true;
                self.ended.notify_all();
                return;
            }
        }
    }

    /// Waits for work, then [`FLUSH_DELAY`] for more lines.
    fn gathered(&self) -> MutexGuard<'_, Queue> {
        let state = self.lock();
        let idle = |state: &mut Queue| state.lines.is_empty() && !state.reopen && !state.closed;
        let state = self.wake.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        let can_wait = |state: &mut Queue| state.lines.len() < WAKE_AT && !state.reopen && !state.closed;
        let waited = self.wake.wait_timeout_while(state, FLUSH_DELAY, can_wait);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The open output.
struct OpenOutput {
    kind: Kind,
    /// Whether the last write failed. One error in the log is enough.
    is_failing: bool,
    /// Whether the last write ended inside a line.
    is_torn: bool,
}

enum Kind {
    Stdout,
    Stderr,
    File(PathBuf, File),
}

impl OpenOutput {
    fn open(output: Output, context: &Context) -> io::Result<Self> {
        let kind = match output {
            Output::Stdout => Kind::Stdout,
            Output::Stderr => Kind::Stderr,
            Output::File(name) => {
                let path = context.resolve(name);
                let file = append_to(&path)?;
                Kind::File(path, file)
            }
        };
        Ok(Self { kind, is_failing: false, is_torn: false })
    }

    /// Writes lines, and returns how many of them could not be written whole.
    fn write(&mut self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        // What was written of a line before the disk was full stays there, on a line of its own.
        if self.is_torn && self.put(b"\n").is_ok() {
            self.is_torn = false;
        }
        let (written, error) = match if self.is_torn { Err((0, None)) } else { self.put(lines) } {
            Ok(()) => (lines.len(), None),
            Err((written, error)) => (written, error),
        };
        if let Some(error) = error
            && !self.is_failing
        {
            tracing::error!(
                "cannot write the access log to {}: {error}; lines are lost and counted until it can be written again",
                self.kind
            );
        }
        let is_whole = written == lines.len();
        if is_whole && self.is_failing {
            tracing::info!("the access log is written to {} again", self.kind);
        }
        self.is_failing = !is_whole;
        if written > 0 {
            self.is_torn = lines[written - 1] != b'\n';
        }
        lines[written..].iter().filter(|octet| **octet == b'\n').count() as u64
    }

    /// Writes octets. An error comes with the number of those before it.
    fn put(&mut self, octets: &[u8]) -> Result<(), (usize, Option<io::Error>)> {
        let out: &mut dyn Write = match &mut self.kind {
            Kind::Stdout => &mut io::stdout().lock(),
            Kind::Stderr => &mut io::stderr().lock(),
            Kind::File(_, file) => file,
        };
        let mut written = 0;
        while written < octets.len() {
            match out.write(&octets[written..]) {
                Ok(0) => return Err((written, Some(io::ErrorKind::WriteZero.into()))),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((written, Some(error))),
            }
        }
        out.flush().map_err(|error| (written, Some(error)))
    }

    /// Keeps the old file if the new one cannot be opened: lines in the old file are better than none.
    fn reopen(&mut self) {
        if let Kind::File(path, file) = &mut self.kind {
            match append_to(path) {
                Ok(new) => *file = new,
                Err(error) => tracing::error!("cannot open the access log `{}` again: {error}", path.display()),
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::Stderr => f.write_str("standard error"),
            Self::File(path, _) => write!(f, "`{}`", path.display()),
        }
    }
}

impl From<String> for Output {
    fn from(text: String) -> Self {
        match text.as_str() {
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            _ => Self::File(text),
        }
    }
}

impl From<Output> for String {
    fn from(output: Output) -> Self {
        output.to_string()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::File(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_the_count_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let buffer = Buffer::default();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        for _ in 0..1024 + 3 {
            buffer.push(&line);
        }
        assert_eq!(buffer.lock().lines.len(), CAPACITY);
        buffer.lock().closed = true;
        buffer.drain(OpenOutput { kind: Kind::File(path.clone(), append_to(&path).unwrap()), is_failing: false, is_torn: false }, |lost| {
            format!("lost {lost}\n")
        });
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!(written.lines().count(), 1024 + 1);
        assert_eq!(written.lines().last(), Some("lost 3"));
    }

    #[test]
    fn lines_that_a_full_disk_refuses_are_counted_and_no_line_stays_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let mut output = OpenOutput { kind: Kind::File("/dev/full".into(), full()), is_failing: false, is_torn: false };
        assert_eq!(output.write(b"one\ntwo\n"), 2);
        assert!(output.is_failing);
        std::fs::write(&path, "thr").unwrap();
        output.kind = Kind::File(path.clone(), append_to(&path).unwrap());
        output.is_torn = true;
        assert_eq!(output.write(b"four\n"), 0);
        assert!(!output.is_failing);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "thr\nfour\n");
    }

    #[test]
    fn lines_of_many_threads_arrive_whole() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::new("test", folder.path(), crate::Lifecycle::default());
        let sink = Arc::new(Sink::open(Output::File("log".to_owned()), &context, |lost| format!("lost {lost}\n")).unwrap());
        thread::scope(|scope| {
            for n in 0..4 {
                let sink = Arc::clone(&sink);
                scope.spawn(move || (0..500).for_each(|_| sink.push(format!("{}\n", n.to_string().repeat(50)).as_bytes())));
            }
        });
        sink.close();
        let written = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(written.lines().count(), 2000);
        assert!(written.lines().all(|line| line.len() == 50 && line.bytes().all(|octet| Some(octet) == line.bytes().next())));
    }
}
