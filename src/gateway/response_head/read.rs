//! Reads the head of a response.

use bytes::BytesMut;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use memchr::{memchr, memchr_iter};

use super::ResponseHead;
use crate::gateway::Malformed;

const STATUS: &str = "status";

impl ResponseHead {
    /// Takes the head at the beginning of `octets`; `None` if it is not complete. It has at most `most` octets. Lines end with LF or CR LF.
    ///
    /// A head without a status has 200, or 302 if it has a `Location` (section 6.2). A `Location` that is only a path is for the client too: it is not
    /// followed here.
    ///
    /// # Errors
    ///
    /// If a line is not a header, if none of `Content-Type`, `Location` and a status is there, if the status is not that of a final response, or if
    /// `Content-Length` is not one number.
    pub(crate) fn take(octets: &mut BytesMut, most: usize) -> Result<Option<Self>, Malformed> {
        const LONG: Malformed = Malformed::TooLarge("the head of the response is too long");
        let Some(end) = end(octets) else { return if octets.len() > most { Err(LONG) } else { Ok(None) } };
        if end > most {
            return Err(LONG);
        }
        Self::read(&octets.split_to(end)).map(Some)
    }

    fn read(head: &[u8]) -> Result<Self, Malformed> {
        let mut status = None;
        let mut headers = HeaderMap::new();
        let lines = head.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        for (nth, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
            match line.strip_prefix(b"HTTP/") {
                Some(line) if nth == 0 => {
                    let rest = memchr(b' ', line).map(|space| &line[space + 1..]);
                    status = Some(read_status(rest.unwrap_or_default())?);
                }
                _ => {
                    let (name, value) = field(line)?;
                    if name.as_str() != STATUS {
                        headers.append(name, value);
                    } else if status.replace(read_status(value.as_bytes())?).is_some() {
                        return Err(Malformed::Syntax("the response has two statuses"));
                    }
                }
            }
        }
        let implied = match status {
            Some(status) => status,
            None if headers.contains_key(LOCATION) => StatusCode::FOUND,
            None if headers.contains_key(CONTENT_TYPE) => StatusCode::OK,
            None => return Err(Malformed::Syntax("the response has neither a status nor `Content-Type` nor `Location`")),
        };
        check_length(&headers)?;
        Ok(Self { status: implied, headers })
    }
}

/// The length of the head with the empty line behind it.
fn end(octets: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', octets).find_map(|at| match &octets[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

fn field(line: &[u8]) -> Result<(HeaderName, HeaderValue), Malformed> {
    let colon = memchr(b':', line).ok_or(Malformed::Syntax("a line of the response's head has no colon"))?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| Malformed::Syntax("a header of the response has a malformed name"))?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
    Ok((name, value.map_err(|_| Malformed::Syntax("a header of the response has a malformed value"))?))
}

/// A status, and a reason that does not count.
fn read_status(text: &[u8]) -> Result<StatusCode, Malformed> {
    let (number, rest) = text.trim_ascii_start().split_at_checked(3).unwrap_or_default();
    let status = if matches!(rest.first(), None | Some(b' ' | b'\t')) { StatusCode::from_bytes(number).ok() } else { None };
    let is_final = |status: &StatusCode| (200..600).contains(&status.as_u16());
    status.filter(is_final).ok_or(Malformed::Syntax("the status of the response is not that of a final response"))
}

fn check_length(headers: &HeaderMap) -> Result<(), Malformed> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(()) };
    let is_number = (1..=18).contains(&length.len()) && length.as_bytes().iter().all(u8::is_ascii_digit);
    if is_number && lengths.next().is_none() {
        return Ok(());
    }
    Err(Malformed::Syntax("the `Content-Length` of the response is not one number"))
}
