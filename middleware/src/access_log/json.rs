//! Lines of JSON. The names of the fields are stable.

use http::HeaderValue;

use super::date;
use super::entry::LogEntry;
use super::format::Format;
use super::write;
use crate::timing::{AppPart, SelfTime};

pub(super) fn write(line: &mut Vec<u8>, entry: &LogEntry) {
    line.extend_from_slice(b"{\"time\":\"");
    date::write_rfc3339(line, entry.time);
    line.push(b'"');
    if let Some(client) = entry.client() {
        line.extend_from_slice(b",\"client\":\"");
        write::address(line, client);
        line.push(b'"');
    }
    text(line, "user", entry.user.as_ref().map(|user| user.user.as_bytes()));
    text(line, "method", Some(entry.method().as_str().as_bytes()));
    text(line, "scheme", entry.connection.as_ref().map(|connection| connection.scheme.as_str().as_bytes()));
    let [host, referer, user_agent] = Format::JSON_HEADERS.map(|(name, place)| (name, entry.request_headers[place].as_ref()));
    header(line, host);
    text(line, "path", Some(entry.path().as_bytes()));
    text(line, "query", entry.query().map(str::as_bytes));
    text(line, "protocol", Some(entry.protocol().as_bytes()));
    line.extend_from_slice(b",\"status\":");
    write::number(line, entry.status.into(), 3);
    line.extend_from_slice(b",\"bytes\":");
    write::number(line, entry.sent, 1);
    if let Some(tunnel) = &entry.tunnel {
        line.extend_from_slice(b",\"received\":");
        write::number(line, tunnel.received().get(), 1);
        if let Some(code) = tunnel.close_code() {
            line.extend_from_slice(b",\"close_code\":");
            write::number(line, code.into(), 1);
        }
    }
    millis(line, "duration_ms", entry.micros());
    if let Some(clock) = entry.clock() {
        for (part, name) in AppPart::ALL.into_iter().zip(["queue_ms", "python_ms", "upstream_ms"]) {
            if let Some(time) = clock.part(part) {
                millis(line, name, write::micros(time));
            }
        }
        if let Some(time) = entry.app_time() {
            millis(line, "app_ms", write::micros(time));
        }
        if entry.shows_times() {
            times(line, &clock.self_times());
        }
    }
    line.extend_from_slice(if entry.complete { b",\"complete\":true" } else { b",\"complete\":false" });
    header(line, referer);
    header(line, user_agent);
    text(line, "request_id", entry.id.as_ref().map(|id| id.as_str().as_bytes()));
    if let Some(trace) = entry.trace() {
        text(line, "trace_id", Some(trace.to_string().as_bytes()));
    }
    line.push(b'}');
}

/// `,"times_ms":{"compress":0.012,"main":8.104}`.
fn times(line: &mut Vec<u8>, times: &[SelfTime]) {
    line.extend_from_slice(b",\"times_ms\":");
    let mut before = b'{';
    for time in times {
        line.push(before);
        line.push(b'"');
        escape(line, time.place.as_str().as_bytes());
        line.extend_from_slice(b"\":");
        decimal(line, write::micros(time.request + time.body));
        before = b',';
    }
    if times.is_empty() {
        line.push(before);
    }
    line.push(b'}');
}

/// A field in milliseconds.
fn millis(line: &mut Vec<u8>, name: &str, micros: u64) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
    decimal(line, micros);
}

fn decimal(line: &mut Vec<u8>, micros: u64) {
    write::number(line, micros / 1_000, 1);
    line.push(b'.');
    write::number(line, micros % 1_000, 3);
}

/// The line that states how many lines were dropped.
pub(super) fn lost(count: u64) -> String {
    format!("{{\"lost\":{count}}}\n")
}

fn header(line: &mut Vec<u8>, (name, value): (&str, Option<&HeaderValue>)) {
    text(line, name, value.map(HeaderValue::as_bytes));
}

fn text(line: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        line.extend_from_slice(b",\"");
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b"\":\"");
        escape(line, value);
        line.push(b'"');
    }
}

/// Pure ASCII, so that no client can send control sequences to a terminal. Octets that are not UTF-8 become U+FFFD.
fn escape(line: &mut Vec<u8>, octets: &[u8]) {
    if write::all_plain(octets) {
        line.extend_from_slice(octets);
        return;
    }
    for char in String::from_utf8_lossy(octets).chars() {
        match u8::try_from(char) {
            Ok(octet) if write::is_plain(octet) => line.push(octet),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    line.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_back_by_a_json_parser(value: String) {
            let mut line = b"\"".to_vec();
            escape(&mut line, value.as_bytes());
            line.push(b'"');
            prop_assert!(line.iter().all(|octet| matches!(octet, b' '..=b'~')));
            prop_assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), value);
        }

        #[test]
        fn any_octets_make_valid_json(octets in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut line = b"\"".to_vec();
            escape(&mut line, &octets);
            line.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), String::from_utf8_lossy(&octets));
        }
    }
}
