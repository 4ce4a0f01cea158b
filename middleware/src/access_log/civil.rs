//! A moment as people write it, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use super::put::number;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment as RFC 3339 writes it, in UTC, to the microsecond.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let mut text = Vec::new();
    Civil::from(time).write_rfc3339(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Date and time of day.
pub(super) struct Civil {
    year: u64,
    /// From 1.
    month: usize,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    micros: u32,
}

impl From<SystemTime> for Civil {
    /// A clock before 1970 is taken for 1970.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // Years begin in March here, so that the leap day comes last (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
        let from_year_0 = days + 719_468;
        let (era, of_era) = (from_year_0 / 146_097, from_year_0 % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month: usize::try_from(month).unwrap_or(1),
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: of_day / 3_600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            micros: since.subsec_micros(),
        }
    }
}

impl Civil {
    /// `[22/Nov/2026:11:19:47 +0000]`, as in the common log format.
    pub(super) fn write_common(&self, line: &mut Vec<u8>) {
        line.push(b'[');
        number(line, self.day, 2);
        line.push(b'/');
        line.extend_from_slice(MONTHS[(self.month - 1) % 12].as_bytes());
        line.push(b'/');
        number(line, self.year, 4);
        line.push(b':');
        self.write_time(line);
        line.extend_from_slice(b" +0000]");
    }

    /// `2026-11-22T11:19:47.123456Z` (RFC 3339).
    pub(super) fn write_rfc3339(&self, line: &mut Vec<u8>) {
        number(line, self.year, 4);
        line.push(b'-');
        number(line, self.month as u64, 2);
        line.push(b'-');
        number(line, self.day, 2);
        line.push(b'T');
        self.write_time(line);
        line.push(b'.');
        number(line, self.micros.into(), 6);
        line.push(b'Z');
    }

    fn write_time(&self, line: &mut Vec<u8>) {
        number(line, self.hour, 2);
        line.push(b':');
        number(line, self.minute, 2);
        line.push(b':');
        number(line, self.second, 2);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn common(time: SystemTime) -> String {
        let mut line = Vec::new();
        Civil::from(time).write_common(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn both_ways_to_write_a_moment() {
        let time = UNIX_EPOCH + Duration::from_micros(1_795_346_387_000_042);
        assert_eq!(common(time), "[22/Nov/2026:11:19:47 +0000]");
        let mut line = Vec::new();
        Civil::from(time).write_rfc3339(&mut line);
        assert_eq!(line, b"2026-11-22T11:19:47.000042Z");
    }

    proptest! {
        #[test]
        fn any_moment_is_the_one_that_http_would_write(secs in 0..253_402_300_800_u64) {
            let time = UNIX_EPOCH + Duration::from_secs(secs);
            // Sun, 06 Nov 1994 08:49:37 GMT
            let http = httpdate::fmt_http_date(time);
            let expected = format!("[{}/{}/{}:{} +0000]", &http[5..7], &http[8..11], &http[12..16], &http[17..25]);
            prop_assert_eq!(common(time), expected);
        }
    }
}
