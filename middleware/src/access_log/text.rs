//! Lines of text.

use std::io::Write;

use super::civil::Civil;
use super::entry::Entry;
use super::format::Piece;
use crate::Scheme;

pub(super) fn write(line: &mut Vec<u8>, pieces: &[Piece], entry: &Entry) {
    // Writing into a vector cannot fail.
    let _ = pieces.iter().try_for_each(|piece| write_piece(line, piece, entry));
}

/// The line that says how many lines are missing.
pub(super) fn lost(count: u64) -> String {
    format!("# {count} lines of the access log were lost here: they came faster than they could be written\n")
}

fn write_piece(line: &mut Vec<u8>, piece: &Piece, entry: &Entry) -> std::io::Result<()> {
    match piece {
        Piece::Literal(text) => line.extend_from_slice(text.as_bytes()),
        Piece::Client => match entry.client() {
            Some(client) => write!(line, "{client}")?,
            None => line.push(b'-'),
        },
        Piece::ClientPort => match entry.origin.as_ref().and_then(|origin| origin.client_port) {
            Some(port) => write!(line, "{port}")?,
            None => line.push(b'-'),
        },
        Piece::Nothing => line.push(b'-'),
        Piece::User => escape_or_dash(line, entry.user.as_ref().map(|user| user.user.as_bytes())),
        Piece::AuthType => escape_or_dash(line, entry.user.as_ref().map(|user| user.auth_type.as_bytes())),
        Piece::Time => Civil::from(entry.time).write_common(line)?,
        Piece::RequestLine => {
            escape(line, entry.method().as_str().as_bytes());
            line.push(b' ');
            escape(line, entry.path_and_query().as_bytes());
            line.push(b' ');
            line.extend_from_slice(entry.protocol().as_bytes());
        }
        Piece::Method => escape(line, entry.method().as_str().as_bytes()),
        Piece::Target => escape(line, entry.path_and_query().as_bytes()),
        Piece::Path => escape(line, entry.path().as_bytes()),
        Piece::Query => escape(line, entry.query().unwrap_or_default().as_bytes()),
        Piece::Protocol => line.extend_from_slice(entry.protocol().as_bytes()),
        Piece::Scheme => line.extend_from_slice(entry.origin.as_ref().map_or(Scheme::Http, |origin| origin.scheme).as_str().as_bytes()),
        Piece::Status => write!(line, "{}", entry.status)?,
        Piece::SentOrDash if entry.sent == 0 => line.push(b'-'),
        Piece::Sent | Piece::SentOrDash => write!(line, "{}", entry.sent)?,
        Piece::Seconds => write!(line, "{}", entry.duration().as_secs())?,
        Piece::Millis => write!(line, "{}", entry.duration().as_millis())?,
        Piece::Micros => write!(line, "{}", entry.duration().as_micros())?,
        Piece::DecimalSeconds => {
            let duration = entry.duration();
            write!(line, "{}.{:06}", duration.as_secs(), duration.subsec_micros())?;
        }
        Piece::Process => write!(line, "<{}>", std::process::id())?,
        Piece::RequestId => escape_or_dash(line, entry.id.as_ref().map(|id| id.as_str().as_bytes())),
        Piece::RequestHeader(place) => header(line, &entry.request_headers, *place),
        Piece::ResponseHeader(place) => header(line, &entry.response_headers, *place),
    }
    Ok(())
}

fn header(line: &mut Vec<u8>, values: &[Option<http::HeaderValue>], place: usize) {
    escape_or_dash(line, values.get(place).and_then(Option::as_ref).map(|value| value.as_bytes()));
}

fn escape_or_dash(line: &mut Vec<u8>, octets: Option<&[u8]>) {
    match octets {
        Some(octets) if !octets.is_empty() => escape(line, octets),
        _ => line.push(b'-'),
    }
}

/// As nginx does it: no octet that a client sent can end a line, close a quote or speak to a terminal.
fn escape(line: &mut Vec<u8>, octets: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for run in octets.chunk_by(|a, b| is_plain(*a) == is_plain(*b)) {
        if run.first().is_some_and(|octet| is_plain(*octet)) {
            line.extend_from_slice(run);
            continue;
        }
        for octet in run {
            line.extend_from_slice(&[b'\\', b'x', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
        }
    }
}

const fn is_plain(octet: u8) -> bool {
    matches!(octet, b' '..=b'~') && octet != b'"' && octet != b'\\'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_forge_a_line_is_escaped() {
        let mut line = Vec::new();
        escape(&mut line, b"a\"b\\c\r\n\x1b[31m\x00\x7f\xc3\xbc d");
        assert_eq!(String::from_utf8(line).unwrap(), r"a\x22b\x5Cc\x0D\x0A\x1B[31m\x00\x7F\xC3\xBC d");
    }

    proptest! {
        #[test]
        fn nothing_but_plain_octets_is_ever_written(octets in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut line = Vec::new();
            escape(&mut line, &octets);
            prop_assert!(line.iter().all(|octet| matches!(octet, b' '..=b'~') && *octet != b'"'));
        }
    }
}
