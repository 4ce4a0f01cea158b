//! Date and time of a line, in UTC.
//!
//! jiff does the calendar. Its formatting by a pattern takes several times as long as the digits below, and a line is written for every request.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::write::number;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time as RFC 3339 writes it, in UTC, to the microsecond.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    format!("{:.6}", timestamp(time))
}

/// `[22/Nov/2026:11:19:47 +0000]`, as in the common log format.
pub(super) fn write_common(line: &mut Vec<u8>, time: SystemTime) {
    let date = utc(time);
    line.push(b'[');
    two_digits(line, date.day());
    line.push(b'/');
    line.extend_from_slice(MONTHS[usize::from(date.month().unsigned_abs() - 1) % 12].as_bytes());
    line.push(b'/');
    number(line, date.year().unsigned_abs().into(), 4);
    line.push(b':');
    write_time(line, date);
    line.extend_from_slice(b" +0000]");
}

/// `2026-11-22T11:19:47.123456Z` (RFC 3339).
pub(super) fn write_rfc3339(line: &mut Vec<u8>, time: SystemTime) {
    let date = utc(time);
    number(line, date.year().unsigned_abs().into(), 4);
    line.push(b'-');
    two_digits(line, date.month());
    line.push(b'-');
    two_digits(line, date.day());
    line.push(b'T');
    write_time(line, date);
    line.push(b'.');
    number(line, u64::from(date.subsec_nanosecond().unsigned_abs()) / 1_000, 6);
    line.push(b'Z');
}

fn write_time(line: &mut Vec<u8>, date: DateTime) {
    two_digits(line, date.hour());
    line.push(b':');
    two_digits(line, date.minute());
    line.push(b':');
    two_digits(line, date.second());
}

fn two_digits(line: &mut Vec<u8>, digits: i8) {
    number(line, digits.unsigned_abs().into(), 2);
}

fn utc(time: SystemTime) -> DateTime {
    Offset::UTC.to_datetime(timestamp(time))
}

/// A clock beyond the year 9999 is taken for 1970.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    fn text(write: fn(&mut Vec<u8>, SystemTime), time: SystemTime) -> String {
        let mut line = Vec::new();
        write(&mut line, time);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_time_is_written_as_logs_and_as_rfc_3339_have_it() {
        let time = UNIX_EPOCH + Duration::from_micros(1_795_346_387_000_042);
        assert_eq!(text(write_common, time), "[22/Nov/2026:11:19:47 +0000]");
        assert_eq!(text(write_rfc3339, time), "2026-11-22T11:19:47.000042Z");
    }

    proptest! {
        #[test]
        fn any_time_is_the_one_that_jiff_and_http_write(micros in 0..253_402_300_800_000_000_u64) {
            let time = UNIX_EPOCH + Duration::from_micros(micros);
            prop_assert_eq!(text(write_rfc3339, time), rfc3339(time));
            // Sun, 06 Nov 1994 08:49:37 GMT
            let http = httpdate::fmt_http_date(time);
            let expected = format!("[{}/{}/{}:{} +0000]", &http[5..7], &http[8..11], &http[12..16], &http[17..25]);
            prop_assert_eq!(text(write_common, time), expected);
        }
    }
}
