//! Reads a request head piece by piece and decides whether it may pass.
//!
//! The decision does not depend on how the head is cut into pieces. Rules on single octets and on size apply to each octet in turn, all other rules to
//! complete lines.

use std::borrow::Cow;
use std::ops::Range;

use http::StatusCode;

use super::{fields, request_line};
use crate::server::limits::Limits;
use crate::server::refusal::Refusal;

/// The framing of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So many octets; 0 without a body.
    Known(u64),
    /// Chunked (RFC 9112 section 7.1).
    Chunked,
}

/// A complete head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complete {
    /// Octets of the head, the empty line included.
    pub(crate) size: usize,
    pub(crate) length: Length,
    /// Whether an HTTP/1.1 request has an `Upgrade` header.
    pub(crate) has_upgrade: bool,
    /// Where the request line is, if it has to be [rewritten](request_line::rewritten).
    pub(crate) rewrite: Option<Range<usize>>,
}

/// A head while it is read.
#[derive(Debug, Default)]
pub(crate) struct Head {
    lines: Lines,
    empty_lines: usize,
    has_request_line: bool,
    is_http_11: bool,
    names_host: bool,
    fields: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    has_upgrade: bool,
    rewrite: Option<Range<usize>>,
}

/// The first octet of a TLS connection: the type of a handshake record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Empty lines before a request line that are ignored (RFC 9112 section 2.2).
const EMPTY_LINES: usize = 2;

impl Head {
    /// Reads the head's octets from its start, some of which an earlier call may have seen.
    pub(crate) fn read(&mut self, octets: &[u8], limits: &Limits) -> Result<Option<Complete>, Refusal> {
        let window = &octets[..octets.len().min(limits.header_size)];
        if !self.has_request_line && octets.first() == Some(&TLS_HANDSHAKE) {
            return Err(Refusal::bad("the client speaks TLS (https://), and this address is for clear text (http://)"));
        }
        loop {
            let start = self.lines.start;
            let Some(line) = self.lines.next(window)? else { break };
            if !self.has_request_line {
                if line.is_empty() {
                    self.empty_lines += 1;
                    if self.empty_lines > EMPTY_LINES {
                        return Err(Refusal::bad("there is no request line"));
                    }
                    continue;
                }
                if self.request_line(line)? {
                    self.rewrite = Some(start..start + line.len());
                }
                self.has_request_line = true;
            } else if line.is_empty() {
                let (size, length) = (self.lines.start, self.finish()?);
                return Ok(Some(Complete { size, length, has_upgrade: self.has_upgrade, rewrite: self.rewrite.take() }));
            } else {
                self.fields += 1;
                if self.fields > limits.headers {
                    return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "there are too many headers"));
                }
                self.field(line)?;
            }
        }
        if octets.len() < limits.header_size {
            Ok(None)
        } else if self.has_request_line {
            Err(HEAD_TOO_LARGE)
        } else {
            Err(fields::TARGET_TOO_LONG)
        }
    }

    /// Whether nothing of a request has come yet.
    pub(crate) const fn is_untouched(&self) -> bool {
        !self.has_request_line && self.lines.searched == self.lines.start
    }

    /// Whether the line has to be rewritten for hyper.
    fn request_line(&mut self, line: &[u8]) -> Result<bool, Refusal> {
        const MALFORMED: Refusal = Refusal::bad("the request line is not `method target HTTP/1.1`");
        let first = memchr::memchr(b' ', line).ok_or(MALFORMED)?;
        let last = memchr::memrchr(b' ', line).filter(|last| *last > first).ok_or(MALFORMED)?;
        let (method, target, version) = (&line[..first], &line[first + 1..last], &line[last + 1..]);
        if !fields::is_token(method) || memchr::memchr2(b' ', b'\t', target).is_some() {
            return Err(MALFORMED);
        }
        self.is_http_11 = match version {
            b"HTTP/1.0" => false,
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                return Err(Refusal::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "this server supports HTTP/2, HTTP/1.0 and HTTP/1.1"));
            }
            _ => return Err(MALFORMED),
        };
        let encoded = request_line::encoded(target);
        self.names_host = fields::target(method, &encoded)?;
        Ok(matches!(encoded, Cow::Owned(_)) || (self.is_http_11 && version != b"HTTP/1.1"))
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let (name, value) = fields::field(line)?;
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => {
                self.hosts += 1;
                if self.hosts > 1 {
                    return Err(Refusal::bad("there is more than one Host"));
                }
                fields::host(value)?;
            }
            6 if is(b"expect") && self.is_http_11 && !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Refusal::new(StatusCode::EXPECTATION_FAILED, "the only supported expectation is `100-continue`"));
            }
            7 if is(b"upgrade") => self.has_upgrade = self.is_http_11,
            14 if is(b"content-length") => {
                let earlier = self.length.replace(fields::content_length(value)?);
                return earlier.map_or(Ok(()), |_| Err(Refusal::bad("there is more than one Content-Length")));
            }
            17 if is(b"transfer-encoding") => {
                if !self.is_http_11 {
                    return Err(Refusal::bad("HTTP/1.0 does not allow Transfer-Encoding"));
                }
                fields::transfer_encoding(value)?;
                if self.chunked {
                    return Err(Refusal::bad("there is more than one Transfer-Encoding"));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Applies the rules on the whole head.
    fn finish(&self) -> Result<Length, Refusal> {
        if self.is_http_11 && self.hosts == 0 {
            return Err(Refusal::bad("there is no Host"));
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Refusal::bad("there are both Content-Length and Transfer-Encoding")),
            (None, true) => Ok(Length::Chunked),
            (length, false) => Ok(Length::Known(length.unwrap_or(0))),
        }
    }
}

const HEAD_TOO_LARGE: Refusal = Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is too large");

/// The trailers of a chunked body while they are read.
#[derive(Debug, Default)]
pub(crate) struct Trailers {
    lines: Lines,
    fields: usize,
}

impl Trailers {
    /// Reads the trailers like [`Head::read`]. Returns their size with the empty line after them.
    pub(crate) fn read(&mut self, octets: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        while let Some(line) = self.lines.next(&octets[..octets.len().min(limits.header_size)])? {
            if line.is_empty() {
                return Ok(Some(self.lines.start));
            }
            self.fields += 1;
            let (name, _) = fields::field(line)?;
            let frames = [&b"content-length"[..], b"transfer-encoding", b"host"];
            if frames.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                return Err(Refusal::bad("a trailer has a name that is only allowed in the head"));
            }
            if self.fields > limits.headers {
                return Err(TRAILERS_TOO_LARGE);
            }
        }
        if octets.len() < limits.header_size { Ok(None) } else { Err(TRAILERS_TOO_LARGE) }
    }
}

const TRAILERS_TOO_LARGE: Refusal = Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the trailers are too large");

/// Finds lines that end in CR LF, piece by piece.
#[derive(Debug, Default)]
struct Lines {
    /// The start of the incomplete line.
    start: usize,
    /// The end of the octets that hold neither a line end nor a forbidden octet.
    searched: usize,
}

impl Lines {
    /// The next complete line without its CR LF.
    fn next<'a>(&mut self, octets: &'a [u8]) -> Result<Option<&'a [u8]>, Refusal> {
        let fresh = &octets[self.searched..];
        let Some(end) = memchr::memchr(b'\n', fresh) else {
            // The LF of a CR at the end may still come.
            let open = fresh.strip_suffix(b"\r").unwrap_or(fresh);
            no_control(open)?;
            self.searched += open.len();
            return Ok(None);
        };
        let line = &fresh[..end];
        let Some(line_end) = line.strip_suffix(b"\r") else {
            no_control(line)?;
            return Err(Refusal::bad("a line ends in LF without CR"));
        };
        no_control(line_end)?;
        let whole = &octets[self.start..self.searched + end - 1];
        self.start = self.searched + end + 1;
        self.searched = self.start;
        Ok(Some(whole))
    }
}

fn no_control(octets: &[u8]) -> Result<(), Refusal> {
    if fields::has_control(octets) { Err(Refusal::bad("there is a control character in the head")) } else { Ok(()) }
}
