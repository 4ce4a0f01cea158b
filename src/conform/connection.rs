//! A connection to the server under test: every wait and every buffer is bounded, and what passes is kept to be shown.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::run::Target;
use super::stream::Stream;

/// What a server may send on one connection.
const LIMIT: usize = 4 << 20;

/// How long a server may refuse connections.
const REPLACED: Duration = Duration::from_secs(1);

/// How much is kept to be shown of each direction.
const SHOWN: usize = 4096;

/// How many lines of that are shown before the other side speaks.
const LINES: usize = 20;

/// How the server ended its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Closed,
    Reset,
}

/// What came of a wait for octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    Octets,
    Ended(Ending),
    /// Nothing in this time.
    Quiet,
}

pub(super) struct Connection {
    stream: Stream,
    /// Octets that no response has taken.
    pub(super) received: Vec<u8>,
    total: usize,
    ending: Option<Ending>,
    deadline: Instant,
    /// `> ` and `< ` with what was sent and what came, for people.
    transcript: Vec<(bool, Vec<u8>)>,
}

impl Connection {
    /// Connects. A server that replaces a process may refuse connections for a second.
    pub(super) fn open(target: &Target, deadline: Instant) -> Result<Self, String> {
        let refused = |error: io::Error| format!("cannot connect: {error}");
        let end = deadline.min(Instant::now() + REPLACED);
        let socket = loop {
            match TcpStream::connect_timeout(&target.address, left(deadline)) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < end => {
                    thread::sleep(Duration::from_millis(50))
                }
                connected => break connected.map_err(refused)?,
            }
        };
        socket.set_nodelay(true).map_err(refused)?;
        let stream = Stream::over(socket, target.session()?, left(deadline)).map_err(|error| format!("no TLS: {error}"))?;
        Ok(Self { stream, received: Vec::new(), total: 0, ending: None, deadline, transcript: Vec::new() })
    }

    /// Sends octets. A server that has closed the connection takes none, which is no failure yet: its response may have come before.
    pub(super) fn send(&mut self, octets: &[u8]) {
        self.note(true, octets);
        let _ = self.stream.send(octets, left(self.deadline));
    }

    /// Ends the sending side.
    pub(super) fn shut(&mut self) {
        let _ = self.stream.shut();
    }

    /// Waits until octets come or the server ends its side.
    pub(super) fn wait(&mut self) -> Result<Arrival, String> {
        match self.wait_for(left(self.deadline))? {
            Arrival::Quiet => Err("nothing more comes, and the connection stays open".to_owned()),
            arrival => Ok(arrival),
        }
    }

    /// As [`Connection::wait`], so long at most.
    pub(super) fn wait_for(&mut self, time: Duration) -> Result<Arrival, String> {
        if let Some(ending) = self.ending {
            return Ok(Arrival::Ended(ending));
        }
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer, time.min(left(self.deadline))) {
            Ok(0) => Ok(self.end(Ending::Closed)),
            Ok(length) => {
                let octets = buffer.get(..length).unwrap_or_default();
                self.total += length;
                self.note(false, octets);
                if self.total > LIMIT {
                    return Err(format!("the server sends more than {LIMIT} octets"));
                }
                self.received.extend_from_slice(octets);
                Ok(Arrival::Octets)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                Ok(Arrival::Quiet)
            }
            Err(_) => Ok(self.end(Ending::Reset)),
        }
    }

    fn end(&mut self, ending: Ending) -> Arrival {
        self.ending = Some(ending);
        Arrival::Ended(ending)
    }

    fn note(&mut self, sent: bool, octets: &[u8]) {
        let shown: usize = self.transcript.iter().filter(|(side, _)| *side == sent).map(|(_, octets)| octets.len()).sum();
        let octets = octets.get(..octets.len().min(SHOWN.saturating_sub(shown))).unwrap_or_default();
        match self.transcript.last_mut() {
            Some((side, last)) if *side == sent => last.extend_from_slice(octets),
            _ if octets.is_empty() => {}
            _ => self.transcript.push((sent, octets.to_vec())),
        }
    }

    /// What was sent and what came, the first 4 KiB of each: a line for each line of the octets, controls and octets outside ASCII as escapes.
    pub(super) fn transcript(&self) -> String {
        let mut text = String::new();
        for (sent, octets) in &self.transcript {
            let side = if *sent { "> " } else { "< " };
            let mut lines = octets.split_inclusive(|octet| *octet == b'\n');
            for line in lines.by_ref().take(LINES) {
                text.push_str(side);
                text.push_str(&escaped(line));
                text.push('\n');
            }
            if lines.next().is_some() {
                text.push_str(side);
                text.push_str("...\n");
            }
        }
        match self.ending {
            Some(Ending::Closed) => text.push_str("< (closed)\n"),
            Some(Ending::Reset) => text.push_str("< (reset)\n"),
            None => {}
        }
        text
    }
}

/// The time until then; a socket takes no zero.
pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Octets for people, 200 at most: ASCII as it is, the others as escapes, without the CR LF that ends a line.
pub(super) fn escaped(octets: &[u8]) -> String {
    let line = octets.strip_suffix(b"\r\n").unwrap_or(octets);
    let shown = line.get(..200).unwrap_or(line);
    let more = if shown.len() < line.len() { format!("... ({} octets)", line.len()) } else { String::new() };
    format!("{}{more}", shown.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_shown_without_controls_and_within_a_line() {
        assert_eq!(escaped(b"a\"b\x1b[0m\xff\r\n"), "a\"b\\x1b[0m\\xff");
        assert!(escaped(&[b'x'; 9999]).ends_with("x... (9999 octets)"));
    }
}
