//! How cases are written.
//!
//! ```text
//! ### path-decoded-once
//! `PATH_INFO` is decoded exactly once.
//! must RFC 3875 section 4.1.5
//! > GET /environ/%2541 HTTP/1.1
//! > Host: {host}
//! >
//! < 200
//! line PATH_INFO '/environ/%41'
//! ```
//!
//! The id, a sentence, and the level with the rule come first. Each further line is a step: a word and its argument. Lines with `>` are sent as one, each with
//! CR LF, or without if the line ends in a backslash. `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` stand for octets, `{x*N}` for so many `x`. `{host}` is the
//! authority of the server, and `{token}` names the notes of the case. `get TARGET` is short for a GET on a connection that ends with its response.

use super::{Alternative, BodyRule, Case, Expected, HeadRule, Level, Status, Step};

/// The cases of a file. The error begins with the number of the line.
pub(super) fn cases(topic: &'static str, text: &'static str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with("# ")).peekable();
    while let Some((at, line)) = lines.next() {
        let wrong = |what: &str| format!("{}: {what}: `{line}`", at + 1);
        if let Some(id) = line.strip_prefix("### ") {
            let title = lines.next().map(|(_, line)| line).ok_or_else(|| wrong("a case without a title"))?;
            let (level, rule) = lines.next().and_then(|(_, line)| line.split_once(' ')).ok_or_else(|| wrong("a case without a level"))?;
            let level = match level {
                "must" => Level::Must,
                "should" => Level::Should,
                _ => return Err(wrong("neither `must` nor `should`")),
            };
            cases.push(Case { topic, id, title, level, rule, steps: Vec::new() });
            continue;
        }
        let case = cases.last_mut().ok_or_else(|| wrong("a step before the first case"))?;
        if let Some(first) = sent(line) {
            let mut octets = octets(first, b"\r\n").ok_or_else(|| wrong("not octets"))?;
            while let Some((_, next)) = lines.next_if(|(_, line)| sent(line).is_some()) {
                octets.extend(self::octets(sent(next).unwrap_or_default(), b"\r\n").ok_or_else(|| wrong("not octets"))?);
            }
            case.steps.push(Step::Send(octets));
            continue;
        }
        let (word, argument) = line.split_once(' ').unwrap_or((line, ""));
        case.steps.extend(steps(word, argument).ok_or_else(|| wrong("not a step"))?);
    }
    Ok(cases)
}

fn sent(line: &'static str) -> Option<&'static str> {
    line.strip_prefix("> ").or_else(|| (line == ">").then_some(""))
}

fn steps(word: &str, argument: &str) -> Option<Vec<Step>> {
    let text = || octets(argument, b"");
    let name = || argument.to_owned();
    let field = || argument.split_once(':').and_then(|(name, value)| Some((name.to_owned(), octets(value.trim_start(), b"")?)));
    let step = match word {
        "get" => {
            let request = format!("GET {argument} HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\n\r\n");
            return Some(vec![Step::Connect, Step::Send(request.into_bytes())]);
        }
        "connect" => Step::Connect,
        "continue" => Step::Continue(text()?),
        "pause" => Step::Pause,
        "shut" => Step::Shut,
        "leave" => Step::Leave,
        "note" => Step::Note(name()),
        "<" => Step::Head(expected(argument)?),
        "refused" => Step::Refused { or_failed: false },
        "refused-or-failed" => Step::Refused { or_failed: true },
        "at-most-one" => Step::AtMostOne,
        "first" => Step::Begins { text: text()?, alone: true },
        "begins" => Step::Begins { text: text()?, alone: false },
        "cut" => Step::Cut { visibly: false },
        "broken" => Step::Cut { visibly: true },
        "end" => Step::End,
        "persistent" => Step::Persistent,
        "header" => field().map(|(name, value)| Step::HeadIs(HeadRule::Header(name, value)))?,
        "no-value" => field().map(|(name, value)| Step::HeadIs(HeadRule::NoValue(name, value)))?,
        "no-header" => Step::HeadIs(HeadRule::Count(name(), 0)),
        "one-header" => Step::HeadIs(HeadRule::Count(name(), 1)),
        "two-headers" => Step::HeadIs(HeadRule::Count(name(), 2)),
        "phrase" => Step::HeadIs(HeadRule::Phrase(name())),
        "version" => Step::HeadIs(HeadRule::Version(argument.strip_prefix("1.")?.parse().ok()?)),
        "body" => Step::BodyIs(BodyRule::Is(text()?)),
        "length" => Step::BodyIs(BodyRule::Length(argument.parse().ok()?)),
        "line" => Step::BodyIs(BodyRule::Line(argument.split(" or ").map(str::to_owned).collect())),
        "no-line" => Step::BodyIs(BodyRule::NoLine(name())),
        "skip-if" => Step::BodyIs(BodyRule::SkipIf(name())),
        "record" => Step::Record(name()),
        "together" => {
            let mut words = argument.splitn(3, ' ');
            let count = words.next()?.parse().ok()?;
            Step::Together { count, target: words.next()?.to_owned(), body: words.next().map(str::to_owned) }
        }
        _ => return None,
    };
    Some(vec![step])
}

/// `200`, `4xx|501`, `200 bodiless`, `200 at-once`, `200 or refused`.
fn expected(argument: &str) -> Option<Expected> {
    let (codes, or) = match argument.split_once(" or ") {
        Some((codes, "closed")) => (codes, Some(Alternative::Closed)),
        Some((codes, "refused")) => (codes, Some(Alternative::Refused)),
        Some((codes, "error")) => (codes, Some(Alternative::Error)),
        Some(_) => return None,
        None => (argument, None),
    };
    let (codes, flag) = codes.split_once(' ').unwrap_or((codes, ""));
    let (bodiless, at_once) = match flag {
        "" => (false, false),
        "bodiless" => (true, false),
        "at-once" => (false, true),
        _ => return None,
    };
    let statuses = codes.split('|').map(|code| match code.strip_suffix("xx") {
        Some(class) => class.parse().ok().map(Status::Class),
        None => code.parse().ok().map(Status::Code),
    });
    Some(Expected { statuses: statuses.collect::<Option<_>>()?, or, bodiless, at_once })
}

/// The octets of a line, with what follows it unless it ends in a backslash.
fn octets(line: &str, end: &[u8]) -> Option<Vec<u8>> {
    let (line, end) = match line.strip_suffix('\\') {
        Some(shorter) if !shorter.ends_with('\\') => (shorter, &b""[..]),
        _ => (line, end),
    };
    let mut octets = Vec::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..)?;
        if c == '{'
            && let Some((repeated, behind)) = rest.split_once('}')
            && let Some((text, count)) = repeated.split_once('*')
        {
            octets.extend(self::octets(text, b"")?.repeat(count.parse().ok()?));
            rest = behind;
        } else if c == '\\' {
            let (octet, length) = match rest.chars().next()? {
                'r' => (b'\r', 1),
                'n' => (b'\n', 1),
                't' => (b'\t', 1),
                '0' => (0, 1),
                '\\' => (b'\\', 1),
                'x' => (u8::from_str_radix(rest.get(1..3)?, 16).ok()?, 3),
                _ => return None,
            };
            octets.push(octet);
            rest = rest.get(length..)?;
        } else {
            octets.push(u8::try_from(c).ok()?);
        }
    }
    octets.extend_from_slice(end);
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sent_with_their_ends_and_escapes_are_octets() {
        assert_eq!(octets(r"a\t\x80{xy*2}\", b"\r\n").unwrap(), b"a\t\x80xyxy");
        assert_eq!(octets(r"{host}\\", b"\r\n").unwrap(), b"{host}\\\r\n");
        assert!(octets(r"\q", b"").is_none() && octets(r"\x8", b"").is_none());
    }

    #[test]
    fn what_is_no_step_is_found_with_its_line() {
        let error = cases("t", "### a\nTitle.\nmust PEP 3333\n> GET / HTTP/1.1\n>\n< 200 or else\n").unwrap_err();
        assert_eq!(error, "6: not a step: `< 200 or else`");
    }
}
