//! One response, read as it comes in and compared with what it must be.

use crate::plan::Exchange;

const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// Reads one response.
#[derive(Default)]
pub(crate) struct Answer {
    state: State,
    /// The head, or the line of a chunk, where it came in pieces.
    line: Vec<u8>,
    /// Body octets found right so far.
    matched: usize,
    keep_alive: bool,
}

#[derive(Default)]
enum State {
    #[default]
    Head,
    Length {
        left: usize,
    },
    ChunkSize,
    Chunk {
        left: usize,
    },
    /// The line end after a chunk's data.
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
}

/// What reading a piece led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    More,
    Done { keep_alive: bool },
}

impl Answer {
    /// True when nothing of the response has come in.
    pub(crate) fn untouched(&self) -> bool {
        matches!(self.state, State::Head) && self.line.is_empty()
    }

    /// Takes in a piece. An error says how the response differs from what `exchange` expects.
    pub(crate) fn read(&mut self, mut input: &[u8], exchange: &Exchange) -> Result<Step, String> {
        while !input.is_empty() {
            input = match self.state {
                State::Head => self.head(input, exchange)?,
                State::Length { left } => {
                    let (body, rest) = input.split_at(left.min(input.len()));
                    self.compare(body, exchange)?;
                    self.state = if left == body.len() { State::Done } else { State::Length { left: left - body.len() } };
                    rest
                }
                State::UntilClose => {
                    self.compare(input, exchange)?;
                    &[]
                }
                State::Chunk { left } => {
                    let (body, rest) = input.split_at(left.min(input.len()));
                    self.compare(body, exchange)?;
                    self.state = if left == body.len() { State::ChunkEnd } else { State::Chunk { left: left - body.len() } };
                    rest
                }
                State::ChunkSize | State::ChunkEnd | State::Trailers => self.chunk_line(input)?,
                State::Done => return Err(format!("octets after the response: {}", shown(input))),
            };
        }
        if matches!(self.state, State::Done) { self.finish(exchange) } else { Ok(Step::More) }
    }

    /// The server closed the connection.
    pub(crate) fn close(&mut self, exchange: &Exchange) -> Result<Step, String> {
        match self.state {
            State::UntilClose => self.finish(exchange),
            _ => Err(format!("connection closed inside a response, after {} octets of its body", self.matched)),
        }
    }

    fn finish(&self, exchange: &Exchange) -> Result<Step, String> {
        match (self.matched, exchange.body.0.len()) {
            (got, wanted) if got != wanted => Err(format!("the body has {got} octets instead of {wanted}")),
            _ => Ok(Step::Done { keep_alive: self.keep_alive }),
        }
    }

    fn head<'i>(&mut self, input: &'i [u8], exchange: &Exchange) -> Result<&'i [u8], String> {
        let before = self.line.len();
        let whole = if before == 0 {
            input
        } else {
            self.line.extend_from_slice(input);
            &self.line
        };
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        match head.parse(whole).map_err(|error| format!("malformed head ({error}): {}", shown(whole)))? {
            httparse::Status::Partial if whole.len() > MAX_HEAD => return Err("endless head".to_owned()),
            httparse::Status::Partial => {
                if before == 0 {
                    self.line.extend_from_slice(input);
                }
                return Ok(&[]);
            }
            httparse::Status::Complete(length) => {
                if head.code != Some(exchange.status) {
                    return Err(format!("status {} instead of {}: {}", head.code.unwrap_or(0), exchange.status, shown(whole)));
                }
                (self.state, self.keep_alive) = framing(&head)?;
                self.line.clear();
                Ok(&input[length - before..])
            }
        }
    }

    /// A line of the chunked coding: a size, the empty line after data, a trailer.
    fn chunk_line<'i>(&mut self, input: &'i [u8]) -> Result<&'i [u8], String> {
        let Some(end) = input.iter().position(|&octet| octet == b'\n') else {
            self.line.extend_from_slice(input);
            return if self.line.len() > MAX_HEAD { Err("endless line between chunks".to_owned()) } else { Ok(&[]) };
        };
        self.line.extend_from_slice(&input[..=end]);
        let Some(line) = self.line.strip_suffix(b"\r\n") else { return Err(format!("bare LF between chunks: {}", shown(&self.line))) };
        self.state = match self.state {
            State::ChunkSize => {
                let text = std::str::from_utf8(line).unwrap_or_default();
                let size = text.split(';').next().map(str::trim_end).and_then(|size| usize::from_str_radix(size, 16).ok());
                match size.ok_or_else(|| format!("malformed chunk size: {}", shown(line)))? {
                    0 => State::Trailers,
                    left => State::Chunk { left },
                }
            }
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::ChunkEnd => return Err(format!("data after a chunk's end: {}", shown(line))),
            _ if line.is_empty() => State::Done,
            _ => State::Trailers,
        };
        self.line.clear();
        Ok(&input[end + 1..])
    }

    fn compare(&mut self, piece: &[u8], exchange: &Exchange) -> Result<(), String> {
        let end = self.matched + piece.len();
        match exchange.body.0.get(self.matched..end) {
            Some(wanted) if wanted == piece => {
                self.matched = end;
                Ok(())
            }
            Some(_) => Err(format!("wrong octets in the body between {} and {end}: {}", self.matched, shown(piece))),
            None => Err(format!("the body is longer than {} octets", exchange.body.0.len())),
        }
    }
}

/// How the body ends, and whether the connection outlives it.
fn framing(head: &httparse::Response<'_, '_>) -> Result<(State, bool), String> {
    let mut length = None;
    let mut chunked = false;
    let mut keep_alive = head.version == Some(1);
    for header in head.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default();
        if header.name.eq_ignore_ascii_case("content-length") {
            let parsed: usize = value.parse().map_err(|_| format!("malformed Content-Length `{value}`"))?;
            length = Some(parsed);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.eq_ignore_ascii_case("chunked");
        } else if header.name.eq_ignore_ascii_case("connection") {
            keep_alive = if keep_alive { !value.eq_ignore_ascii_case("close") } else { value.eq_ignore_ascii_case("keep-alive") };
        }
    }
    let bodiless = matches!(head.code, Some(204 | 304));
    Ok(match (chunked, length) {
        (true, Some(_)) => return Err("both Transfer-Encoding and Content-Length".to_owned()),
        _ if bodiless => (State::Done, keep_alive),
        (true, None) => (State::ChunkSize, keep_alive),
        (false, Some(0)) => (State::Done, keep_alive),
        (false, Some(left)) => (State::Length { left }, keep_alive),
        (false, None) => (State::UntilClose, false),
    })
}

/// The start of some octets, for a message.
fn shown(octets: &[u8]) -> String {
    octets[..octets.len().min(200)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Octets;

    fn hello() -> Exchange {
        let octets = |text: &str| Octets(text.as_bytes().to_vec());
        Exchange { request: octets(""), status: 200, body: octets("Hello, world!") }
    }

    fn read(pieces: &[&str]) -> Result<Step, String> {
        let mut answer = Answer::default();
        let mut step = Step::More;
        for piece in pieces {
            step = answer.read(piece.as_bytes(), &hello())?;
        }
        Ok(step)
    }

    #[test]
    fn a_right_answer_is_done_however_it_is_cut() {
        for whole in [
            "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n8\r\n, world!\r\n0\r\n\r\n",
        ] {
            for cut in 0..whole.len() {
                assert_eq!(read(&[&whole[..cut], &whole[cut..]]), Ok(Step::Done { keep_alive: true }), "{whole:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn wrong_answers_are_refused() {
        for wrong in [
            "HTTP/1.1 500 Oops\r\nContent-Length: 13\r\n\r\nHello, world!",
            "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!",
            "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHello, world",
            "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nHello, world!!",
            "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!HTTP/1.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello,\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 13\r\n\r\n",
        ] {
            assert!(read(&[wrong]).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn a_body_without_length_ends_with_the_connection() {
        let mut answer = Answer::default();
        assert_eq!(answer.read(b"HTTP/1.1 200 OK\r\n\r\nHello, world!", &hello()), Ok(Step::More));
        assert_eq!(answer.close(&hello()), Ok(Step::Done { keep_alive: false }));
    }
}
