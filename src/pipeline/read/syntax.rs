//! Syntax errors as findings.

use jsonc_parser::ParseStringErrorKind;
use jsonc_parser::errors::ParseErrorKind;

use super::text::{Dialect, MAX_DEPTH};
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::tree::Span;

/// Mistakes that the parser accepts: strings over several lines, and control characters. A missing quote is reported on its own line, before the parser
/// reports a later one.
pub(super) fn stray_octet(text: &str, dialect: Dialect) -> Option<Diagnostic> {
    let octets = text.as_bytes();
    let mut string = None;
    let mut i = 0;
    while i < octets.len() {
        match (octets[i], string) {
            (b'\\', Some(_)) if octets.get(i + 1).is_some_and(|octet| *octet >= 0x20) => i += 1,
            (b'"', Some(_)) => string = None,
            (b'"', None) => string = Some(i),
            (b'\n' | b'\r', Some(start)) => {
                return Some(
                    Diagnostic::error(Id::Syntax, "this string has no end on its line", start..i)
                        .label("opened here")
                        .hint("close it with `\"`; a line end inside a string is written `\\n`"),
                );
            }
            (octet, Some(_)) if octet < 0x20 => {
                return Some(
                    Diagnostic::error(Id::Syntax, format!("a string has a control character (U+{octet:04X})"), i..i + 1)
                        .hint(format!("write it as `\\u{octet:04x}`, or remove it")),
                );
            }
            (octet, None) if octet < 0x20 && !matches!(octet, b'\t' | b'\n' | b'\r') => {
                return Some(
                    Diagnostic::error(Id::Syntax, format!("the file has a control character (U+{octet:04X})"), i..i + 1).hint("remove it"),
                );
            }
            (b'/', None) => i = past_comment(octets, i).max(i + 1) - 1,
            (octet, None) if octet >= 0x80 && dialect == Dialect::Json => {
                // RFC 8259 has four kinds of white space; the parser accepts all of Unicode's.
                let c = text[i..].chars().next().unwrap_or_default();
                if c.is_whitespace() {
                    let span = i..i + c.len_utf8();
                    return Some(
                        Diagnostic::error(Id::Syntax, format!("the file has an unusual space (U+{:04X})", u32::from(c)), span)
                            .hint("replace it by a plain space"),
                    );
                }
                i += c.len_utf8() - 1;
            }
            _ => {}
        }
        i += 1;
    }
    string.map(|start| {
        Diagnostic::error(Id::Syntax, "this string has no end", start..text.trim_end().len())
            .label("opened here")
            .hint("close it with `\"`")
    })
}

/// The place after a comment that begins at `start`, or `start` where none does.
fn past_comment(octets: &[u8], start: usize) -> usize {
    let rest = &octets[start..];
    match rest.get(1) {
        Some(b'/') => start + memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len()),
        Some(b'*') => start + 2 + memchr::memmem::find(&rest[2..], b"*/").map_or(rest.len() - 2, |end| end + 2),
        _ => start,
    }
}

/// The error of the parser as a finding.
pub(super) fn explain(text: &str, span: Span, kind: &ParseErrorKind) -> Diagnostic {
    use ParseErrorKind as Kind;
    let char_at = |at: usize| text[at..].chars().next();
    let found = char_at(span.start);
    if let Some(finding) = other_language(text).or_else(|| not_json(text, &span, found)) {
        return finding;
    }
    let error = |message: &str| Diagnostic::error(Id::Syntax, message.to_owned(), span.clone());
    match kind {
        Kind::CommentsNotAllowed | Kind::UnexpectedToken if found == Some('/') => error("a `.json` file has a comment")
            .label("JSON has no comments")
            .hint("rename the file to `.jsonc`, where comments and trailing commas are allowed"),
        Kind::TrailingCommasNotAllowed => {
            error("a comma follows the last item").label("nothing comes after it").hint("remove the comma, or rename the file to `.jsonc`")
        }
        Kind::ExpectedComma
            if text[..span.start].ends_with(|c: char| c.is_ascii_digit()) && found.is_some_and(|c| c.is_ascii_alphanumeric()) =>
        {
            number(text, span.start)
        }
        Kind::ExpectedComma => error("a comma is missing").label("between this item and the next").hint("write `,` here"),
        Kind::ExpectedColonAfterObjectKey => error("a colon is missing after the key")
            .label("`:` was expected here")
            .hint("a key and its value are written `\"key\": value`"),
        Kind::ExpectedObjectValue => error("the value of this key is missing"),
        Kind::ExpectedStringObjectProperty => error("a key has no quotes").hint(format!("write `\"{}\"`", &text[span.clone()])),
        Kind::SingleQuotedStringsNotAllowed => error("a string has single quotes").hint("write it in double quotes: `\"...\"`"),
        Kind::UnterminatedObject => error("this object has no end").label("opened here").hint("close it with `}`"),
        Kind::UnterminatedArray => error("this list has no end").label("opened here").hint("close it with `]`"),
        Kind::UnterminatedCommentBlock => error("this comment has no end").label("opened here").hint("close it with `*/`"),
        Kind::MultipleRootJsonValues => {
            error("something follows after the end of the pipeline").label("not part of it").hint("a file holds one object")
        }
        Kind::UnexpectedWord | Kind::UnexpectedToken if found.is_some_and(char::is_alphabetic) => {
            error("a word has no quotes").label("neither a string nor a number").hint(word_hint(&text[span.clone()]))
        }
        Kind::UnexpectedColon => error("`:` is not expected here").hint("a list has no keys; is its `]` missing before this line?"),
        Kind::UnexpectedCloseBrace
        | Kind::UnexpectedCloseBracket
        | Kind::UnexpectedComma
        | Kind::UnexpectedToken
        | Kind::UnexpectedWord
        | Kind::UnexpectedTokenInObject => {
            let message = match found {
                Some(c) => format!("`{c}` is not expected here"),
                None => "the file ends too early".to_owned(),
            };
            error(&message).hint("look before it: a value, a quote or a bracket may be missing")
        }
        Kind::HexadecimalNumbersNotAllowed
        | Kind::UnaryPlusNumbersNotAllowed
        | Kind::BareDecimalPointNumbersNotAllowed
        | Kind::NonFiniteNumbersNotAllowed
        | Kind::ExpectedDigit
        | Kind::ExpectedDigitFollowingNegativeSign
        | Kind::ExpectedPlusMinusOrDigitInNumberLiteral => number(text, span.start),
        Kind::String(ParseStringErrorKind::UnterminatedStringLiteral) => {
            error("this string has no end").label("opened here").hint("close it with `\"`")
        }
        Kind::String(ParseStringErrorKind::InvalidUnicodeEscapeSequence(_)) => {
            error("this escape is not a character").hint("a character above U+FFFF is written as two escapes, or as itself")
        }
        Kind::String(_) => {
            error("JSON has no such escape").hint("escapes are `\\\"`, `\\\\`, `\\/`, `\\n`, `\\r`, `\\t`, `\\b`, `\\f` and `\\uXXXX`")
        }
        Kind::NestingDepthExceeded => too_deep(span.start, MAX_DEPTH),
        other => error(&other.to_string().to_lowercase()),
    }
}

/// A text that is not JSON at all: YAML, TOML or an INI file.
fn other_language(text: &str) -> Option<Diagnostic> {
    let first = text.lines().map(str::trim_end).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let start = first.as_ptr().addr() - text.as_ptr().addr();
    let is_key = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'));
    let language = if first == "---"
        || first.split_once(':').is_some_and(|(key, value)| is_key(key) && (value.is_empty() || value.starts_with(' ')))
    {
        "YAML"
    } else if (first.starts_with('[') && first.ends_with(']') && is_key(&first[1..first.len() - 1]))
        || first.split_once('=').is_some_and(|(key, _)| is_key(key.trim_end()))
    {
        "TOML or an INI file"
    } else {
        return None;
    };
    Some(
        Diagnostic::error(Id::Syntax, format!("the file looks like {language}, and a pipeline is JSON"), start..start + first.len())
            .label("the first line")
            .hint("a pipeline begins with `{`, and its keys are in double quotes: `{ \"app\": { \"wsgi\": \"hello:app\" } }`"),
    )
}

/// What other programs put into JSON files.
fn not_json(text: &str, span: &Span, found: Option<char>) -> Option<Diagnostic> {
    let found = found?;
    let line_start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    if ["<<<<<<<", "=======", ">>>>>>>", "|||||||"].iter().any(|mark| line.starts_with(mark)) {
        return Some(
            Diagnostic::error(Id::Syntax, "the file has the marks of a merge conflict", line_start..line_start + line.len())
                .label("left by a merge")
                .hint("choose one side, and remove the lines with `<<<<<<<`, `=======` and `>>>>>>>`"),
        );
    }
    let error = |message: &str| Diagnostic::error(Id::Syntax, message.to_owned(), span.start..span.start + found.len_utf8());
    match found {
        '#' => Some(
            error("`#` begins no comment in JSON")
                .hint("remove the line; in a file whose name ends in `.jsonc`, comments are written `// ...` and `/* ... */`"),
        ),
        '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => Some(
            error("a typographic quotation mark")
                .label("not the character `\"`")
                .hint("write `\"`; an editor for prose may have replaced it"),
        ),
        _ => None,
    }
}

/// The whole malformed number around `at`.
fn number(text: &str, at: usize) -> Diagnostic {
    let belongs = |octet: &&u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'+' | b'-');
    let before = text.as_bytes()[..at].iter().rev().take_while(belongs).count();
    let after = text.as_bytes()[at..].iter().take_while(belongs).count();
    Diagnostic::error(Id::Syntax, "this is not a number in JSON", at - before..at + after).hint("numbers are written `12`, `-3` or `0.5`")
}

pub(super) fn too_deep(at: usize, most: usize) -> Diagnostic {
    Diagnostic::error(Id::NestedTooDeep, format!("the file is nested more than {most} levels deep"), at..at + 1)
        .label("too deep")
        .hint("an entry of `apps` can hold a part of the tree under a name")
}

fn word_hint(word: &str) -> String {
    match word.to_ascii_lowercase().as_str() {
        "true" | "false" | "null" => format!("write `{}`", word.to_ascii_lowercase()),
        "none" | "nil" | "undefined" => "leave the key out, or write `null`".to_owned(),
        "yes" | "on" => "write `true`".to_owned(),
        "no" | "off" => "write `false`".to_owned(),
        _ => format!("write `\"{word}\"`"),
    }
}
