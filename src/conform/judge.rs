//! Whether a response is as a case says.

use super::connection::escaped;
use super::exchange::{Stop, failed};
use super::response::Head;
use super::{Alternative, BodyRule, Expected, HeadRule, Status};

/// What servers refuse a request with.
pub(super) fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=499 | 501 | 505)
}

/// Judges the status of a response; `None` is a connection that was closed instead.
pub(super) fn judge_status(status: Option<u16>, expected: &Expected) -> Result<(), Stop> {
    let Some(status) = status else {
        return match expected.or {
            Some(Alternative::Closed | Alternative::Refused) => Err(Stop::Passed),
            _ => failed("the server closes the connection without a response"),
        };
    };
    let fits = expected.statuses.iter().any(|one| match one {
        Status::Code(code) => *code == status,
        Status::Class(class) => *class == status / 100,
    });
    match expected.or {
        _ if fits => Ok(()),
        Some(Alternative::Refused) if is_refusal(status) => Err(Stop::Passed),
        Some(Alternative::Error) if status >= 500 => Err(Stop::Passed),
        _ => failed(format!("the status is {status}, not {}", listed(&expected.statuses))),
    }
}

fn listed(statuses: &[Status]) -> String {
    let names = statuses.iter().map(|status| match status {
        Status::Code(code) => code.to_string(),
        Status::Class(class) => format!("{class}xx"),
    });
    names.collect::<Vec<_>>().join(" or ")
}

/// Judges a head.
pub(super) fn judge_head(head: &Head, rule: &HeadRule) -> Result<(), Stop> {
    match rule {
        HeadRule::Header(name, value) => match head.values(name).collect::<Vec<_>>()[..] {
            [found] if found == value => Ok(()),
            [] => failed(format!("there is no header `{name}`")),
            [found] => failed(format!("`{name}` is `{}`, not `{}`", escaped(found), escaped(value))),
            _ => failed(format!("there are several headers `{name}`")),
        },
        HeadRule::Count(name, count) => match head.values(name).count() {
            found if found == *count => Ok(()),
            found => failed(format!("the header `{name}` occurs {found} times, not {count}")),
        },
        HeadRule::NoValue(name, value) => match head.values(name).any(|found| found.eq_ignore_ascii_case(value)) {
            false => Ok(()),
            true => failed(format!("the header `{name}: {}` is sent", escaped(value))),
        },
        HeadRule::Phrase(phrase) if head.phrase != *phrase => failed(format!("the phrase is `{}`, not `{phrase}`", head.phrase)),
        HeadRule::Version(minor) if head.minor != *minor => failed(format!("the version is HTTP/1.{}, not HTTP/1.{minor}", head.minor)),
        _ => Ok(()),
    }
}

/// Judges a whole body; `fill` puts the names of the run into a text.
pub(super) fn judge_body(body: &[u8], rule: &BodyRule, fill: &dyn Fn(&str) -> String) -> Result<(), Stop> {
    let text = String::from_utf8_lossy(body);
    match rule {
        BodyRule::Is(expected) if body != expected => failed(format!("the body is `{}`, not `{}`", escaped(body), escaped(expected))),
        BodyRule::Length(length) if body.len() != *length => failed(format!("the body has {} octets, not {length}", body.len())),
        BodyRule::Line(expected) => {
            let expected: Vec<String> = expected.iter().map(|line| fill(line)).collect();
            if text.lines().any(|line| expected.iter().any(|one| one == line)) {
                return Ok(());
            }
            let expected = expected.join("` or `");
            let key = expected.split(' ').next().unwrap_or_default();
            let found = text.lines().find(|line| line.split(' ').next() == Some(key));
            let found = found.map_or_else(|| format!("no `{key}`"), |line| format!("`{}`", escaped(line.as_bytes())));
            failed(format!("the app sees {found}, not `{expected}`"))
        }
        BodyRule::NoLine(start) => match text.lines().find(|line| line.starts_with(start.as_str())) {
            Some(line) => failed(format!("the app sees `{}`", escaped(line.as_bytes()))),
            None => Ok(()),
        },
        BodyRule::SkipIf(missing) if body == missing.as_bytes() => Err(Stop::Skipped(format!("the server has {missing}"))),
        _ => Ok(()),
    }
}
