//! The certificates that authorities are asked for, as a table.

use std::fmt::Write;

use ziggurat_middleware::access_log::rfc3339;

use crate::acme::{NameReport, Timestamp};

/// Whether each name has a certificate that is valid, and nothing stands against its renewal.
pub(super) fn are_sound(reports: &[NameReport], now: Timestamp) -> bool {
    reports.iter().all(|report| report.error.is_none() && report.not_after.is_some_and(|end| end > now))
}

/// A block for each name.
pub(super) fn table(reports: &[NameReport], now: Timestamp) -> String {
    let mut text = String::new();
    for report in reports {
        let date = |time: Timestamp| rfc3339(time.system());
        let _ = writeln!(text, "{}", report.name);
        let mut line = |label: &str, value: String| {
            let _ = writeln!(text, "  {label:<14}{value}");
        };
        match report.not_after {
            Some(end) if end <= now => line("expired", date(end)),
            Some(end) => line("expires", format!("{}, in {} d", date(end), now.until(end).as_secs() / (24 * 3600))),
            None => line("certificate", "none yet".to_owned()),
        }
        for (label, value) in [("issuer", &report.issuer), ("serial", &report.serial)] {
            if let Some(value) = value {
                line(label, clean(value));
            }
        }
        for (label, time) in [("renewal", report.renew_at), ("last attempt", report.last_attempt_at)] {
            if let Some(time) = time {
                line(label, date(time));
            }
        }
        if let Some(error) = &report.error {
            line("error", format!("{} (failures in a row: {})", clean(error), report.failures));
        }
        if let Some(next) = report.next_attempt_at {
            line("next attempt", if next <= now { "at once, when the server runs".to_owned() } else { date(next) });
        }
        line("directory", clean(&report.directory));
    }
    text
}

/// Control characters never reach the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_and_failures_are_shown_with_their_times() {
        let now = Timestamp(1_800_000_000);
        let good = NameReport {
            name: "www.example.com".to_owned(),
            directory: "https://acme.test/dir".to_owned(),
            not_after: Some(Timestamp(1_800_000_000 + 75 * 24 * 3600)),
            issuer: Some("C=US, O=Test \u{1b}[2J, CN=E5".to_owned()),
            serial: Some("04ab".to_owned()),
            renew_at: Some(Timestamp(1_800_000_000 + 45 * 24 * 3600)),
            failures: 0,
            last_attempt_at: None,
            error: None,
            next_attempt_at: None,
        };
        let bad = NameReport {
            name: "new.example.com".to_owned(),
            not_after: None,
            issuer: None,
            serial: None,
            renew_at: None,
            failures: 2,
            last_attempt_at: Some(Timestamp(1_799_999_000)),
            error: Some("the challenge tls-alpn-01 was not met: connection refused (connection)".to_owned()),
            next_attempt_at: Some(Timestamp(1_800_000_800)),
            ..good.clone()
        };
        insta::assert_snapshot!(table(&[good, bad], now));
    }
}
