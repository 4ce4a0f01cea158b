//! Lines of text.

use std::time::Duration;

use super::date;
use super::entry::LogEntry;
use super::format::Piece;
use super::write;
use crate::Scheme;
use crate::timing::RequestClock;

pub(super) fn write(line: &mut Vec<u8>, pieces: &[Piece], entry: &LogEntry) {
    for piece in pieces {
        write_piece(line, piece, entry);
    }
}

/// The line that states how many lines were dropped.
pub(super) fn lost(count: u64) -> String {
    format!("# {count} lines of the access log were lost here: they came faster than they could be written\n")
}

fn write_piece(line: &mut Vec<u8>, piece: &Piece, entry: &LogEntry) {
    match piece {
        Piece::Literal(text) => line.extend_from_slice(text.as_bytes()),
        Piece::Client => match entry.client() {
            Some(client) => write::address(line, client),
            None => line.push(b'-'),
        },
        Piece::ClientPort => match entry.connection.as_ref().and_then(|connection| connection.client_port) {
            Some(port) => write::number(line, port.into(), 1),
            None => line.push(b'-'),
        },
        Piece::Nothing => line.push(b'-'),
        Piece::User => escape_or_dash(line, entry.user.as_ref().map(|user| user.user.as_bytes())),
        Piece::AuthType => escape_or_dash(line, entry.user.as_ref().map(|user| user.auth_type.as_bytes())),
        Piece::Time => date::write_common(line, entry.time),
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
        Piece::Scheme => {
            line.extend_from_slice(entry.connection.as_ref().map_or(Scheme::Http, |connection| connection.scheme).as_str().as_bytes())
        }
        Piece::Status => write::number(line, entry.status.into(), 3),
        Piece::SentOrDash if entry.sent == 0 => line.push(b'-'),
        Piece::Sent | Piece::SentOrDash => write::number(line, entry.sent, 1),
        Piece::Seconds => write::number(line, entry.micros() / 1_000_000, 1),
        Piece::Millis => write::number(line, entry.micros() / 1_000, 1),
        Piece::Micros => write::number(line, entry.micros(), 1),
        Piece::DecimalSeconds => seconds(line, entry.micros()),
        Piece::Part(part) => seconds_or_dash(line, entry.clock().and_then(|clock| clock.part(*part))),
        Piece::AppTime => seconds_or_dash(line, entry.app_time()),
        Piece::SelfTime(place) => {
            let times = entry.clock().map(RequestClock::self_times).unwrap_or_default();
            let time = times.into_iter().find(|time| time.place.as_str() == place);
            seconds_or_dash(line, time.map(|time| time.request + time.body));
        }
        Piece::Process => {
            line.push(b'<');
            write::number(line, std::process::id().into(), 1);
            line.push(b'>');
        }
        Piece::RequestId => escape_or_dash(line, entry.id.as_ref().map(|id| id.as_str().as_bytes())),
        Piece::TraceId => match entry.trace() {
            Some(trace) => line.extend_from_slice(trace.to_string().as_bytes()),
            None => line.push(b'-'),
        },
        Piece::Received => number_or_dash(line, entry.tunnel.as_ref().map(|tunnel| tunnel.received().get())),
        Piece::CloseCode => number_or_dash(line, entry.tunnel.as_ref().and_then(|tunnel| tunnel.close_code()).map(u64::from)),
        Piece::RequestHeader(place) => header(line, &entry.request_headers, *place),
        Piece::ResponseHeader(place) => header(line, &entry.response_headers, *place),
    }
}

fn header(line: &mut Vec<u8>, values: &[Option<http::HeaderValue>], place: usize) {
    escape_or_dash(line, values.get(place).and_then(Option::as_ref).map(|value| value.as_bytes()));
}

fn seconds(line: &mut Vec<u8>, micros: u64) {
    write::number(line, micros / 1_000_000, 1);
    line.push(b'.');
    write::number(line, micros % 1_000_000, 6);
}

fn seconds_or_dash(line: &mut Vec<u8>, time: Option<Duration>) {
    match time {
        Some(time) => seconds(line, write::micros(time)),
        None => line.push(b'-'),
    }
}

fn number_or_dash(line: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => write::number(line, number, 1),
        None => line.push(b'-'),
    }
}

fn escape_or_dash(line: &mut Vec<u8>, octets: Option<&[u8]>) {
    match octets {
        Some(octets) if !octets.is_empty() => escape(line, octets),
        _ => line.push(b'-'),
    }
}

/// Escapes as nginx does, so that no client can end a line, close a quote or send control sequences to a terminal.
fn escape(line: &mut Vec<u8>, octets: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if write::all_plain(octets) {
        line.extend_from_slice(octets);
        return;
    }
    for octet in octets {
        if write::is_plain(*octet) {
            line.push(*octet);
        } else {
            line.extend_from_slice(&[b'\\', b'x', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
        }
    }
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
