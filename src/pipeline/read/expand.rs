//! `${VAR}`, `${VAR:-default}`, `${file:path}` and `$$` in string values.
//!
//! Expansion comes after parsing, so that no value can change the structure. Keys are not expanded. Messages name the source, never the value.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ziggurat_middleware::system_words;

use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::secrets::Secrets;
use crate::pipeline::tree::{Expanded, Node, Span, Value};

/// Looks up an environment variable: `std::env::var_os` in the program, anything else in a test.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A bound on the size of a file with a secret.
const MAX_FILE: u64 = 64 * 1024;

/// Expands every string value below `node`.
pub(crate) fn expand(node: &mut Node, text: &str, base: &Path, environment: Environment<'_>) -> Result<Secrets, Vec<Diagnostic>> {
    let mut expansion = Expansion { text, base, environment, secrets: Vec::new(), findings: Vec::new() };
    expansion.node(node);
    if expansion.findings.is_empty() { Ok(Secrets::new(expansion.secrets)) } else { Err(expansion.findings) }
}

struct Expansion<'a> {
    text: &'a str,
    base: &'a Path,
    environment: Environment<'a>,
    secrets: Vec<(String, String)>,
    findings: Vec<Diagnostic>,
}

/// A piece of a string.
enum Piece {
    /// From the file itself.
    Plain(String),
    /// From outside the file.
    Secret(String),
}

impl Expansion<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.node(item)),
            Value::Object(entries) => entries.iter_mut().for_each(|entry| self.node(&mut entry.value)),
            Value::String(string) if string.contains('$') => {
                let source = string.clone();
                if let Some((value, expanded)) = self.string(&source, &node.span) {
                    *string = value;
                    node.expanded = expanded;
                }
            }
            _ => {}
        }
    }

    fn string(&mut self, source: &str, span: &Span) -> Option<(String, Option<Box<Expanded>>)> {
        let mut value = String::new();
        let (mut references, mut secret, mut sound) = (0, false, true);
        let mut at = 0;
        while let Some(dollar) = source[at..].find('$').map(|found| at + found) {
            value.push_str(&source[at..dollar]);
            let rest = &source[dollar + 1..];
            if rest.starts_with('$') {
                value.push('$');
                at = dollar + 2;
                continue;
            }
            let Some(inside) = rest.strip_prefix('{') else {
                value.push('$');
                at = dollar + 1;
                continue;
            };
            let Some(length) = inside.find('}') else {
                let place = self.place(source, dollar..source.len(), span);
                self.findings.push(
                    Diagnostic::error(Id::UnresolvedReference, "`${` is not closed", place)
                        .label("`}` is missing")
                        .hint("write `$$` for a plain `$`"),
                );
                return None;
            };
            at = dollar + 2 + length + 1;
            references += 1;
            match self.reference(&inside[..length]) {
                Ok(Piece::Plain(text)) => value.push_str(&text),
                Ok(Piece::Secret(text)) => {
                    secret = true;
                    value.push_str(&text);
                    self.secrets.push((text, source[dollar..at].to_owned()));
                }
                Err(diagnostic) => {
                    let place = self.place(source, dollar..at, span);
                    self.findings.push(Diagnostic { span: Some(place), ..diagnostic });
                    sound = false;
                }
            }
        }
        value.push_str(&source[at..]);
        let whole = references == 1 && source.starts_with("${") && source.find('}') == Some(source.len() - 1);
        let expanded = (references > 0).then(|| Box::new(Expanded { source: source.to_owned(), whole, secret }));
        sound.then_some((value, expanded))
    }

    /// The span of a part of a string's value; the whole string, if it has escapes.
    fn place(&self, source: &str, part: Span, span: &Span) -> Span {
        let inside = span.start + 1..span.end - 1;
        if self.text.get(inside.clone()) == Some(source) { inside.start + part.start..inside.start + part.end } else { span.clone() }
    }

    fn reference(&self, inside: &str) -> Result<Piece, Diagnostic> {
        if let Some(path) = inside.strip_prefix("file:") {
            return self.file(path).map(Piece::Secret);
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err(Diagnostic::without_place(Id::UnresolvedReference, format!("`${{{inside}}}` is not a reference"))
                .label("neither a variable nor a file")
                .hint("write `${NAME}`, `${NAME:-default}` or `${file:path}`; `$$` is a plain `$`"));
        }
        match ((self.environment)(name).map(OsString::into_string), default) {
            (Some(Ok(value)), _) if !value.is_empty() => Ok(Piece::Secret(value)),
            (Some(Err(_)), _) => {
                Err(Diagnostic::without_place(Id::UnresolvedReference, format!("the value of the variable `{name}` is not UTF-8 text"))
                    .label("used here"))
            }
            (_, Some(default)) => Ok(Piece::Plain(default.to_owned())),
            (state, None) => Err(Diagnostic::without_place(
                Id::UnresolvedReference,
                format!("the variable `{name}` is {}", if state.is_some() { "empty" } else { "not set" }),
            )
            .label("needed here")
            .hint(format!("set it in the environment, or give a default: `${{{name}:-default}}`"))),
        }
    }

    fn file(&self, path: &str) -> Result<String, Diagnostic> {
        let refuse = |message: String| Diagnostic::without_place(Id::UnresolvedReference, message).label("read here");
        if path.is_empty() {
            return Err(refuse("`${file:}` names no file".to_owned()).hint("write a path, as in `${file:secrets/key}`"));
        }
        let cannot = |error: std::io::Error| {
            refuse(format!("cannot read the file `{path}`: {}", system_words(&error)))
                .hint(format!("relative paths start at `{}`", self.shown_base()))
        };
        let full = self.base.join(path);
        if !std::fs::metadata(&full).map_err(cannot)?.is_file() {
            return Err(refuse(format!("`{path}` is not a file")));
        }
        let mut octets = Vec::new();
        File::open(&full).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut octets)).map_err(cannot)?;
        if octets.len() as u64 > MAX_FILE {
            return Err(refuse(format!("the file `{path}` is larger than 64 KiB")));
        }
        let mut text = String::from_utf8(octets).map_err(|_| refuse(format!("the file `{path}` is not UTF-8 text")))?;
        if text.ends_with('\n') {
            text.truncate(text.len() - 1);
            if text.ends_with('\r') {
                text.truncate(text.len() - 1);
            }
        }
        if text.is_empty() {
            return Err(refuse(format!("the file `{path}` is empty")));
        }
        Ok(text)
    }

    fn shown_base(&self) -> String {
        if self.base.as_os_str().is_empty() { ".".to_owned() } else { self.base.display().to_string() }
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::super::text::{Dialect, parse};
    use super::*;

    fn environment(name: &str) -> Option<OsString> {
        match name {
            "PORT" => Some("8000".into()),
            "EMPTY" => Some("".into()),
            "NESTED" => Some("${PORT}\", \"x\": \"".into()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> Result<Node, Vec<Diagnostic>> {
        let text = format!("\"{text}\"");
        let mut node = parse(&text, Dialect::Json).unwrap();
        expand(&mut node, &text, Path::new(""), &environment).map(|_| node)
    }

    fn value(text: &str) -> String {
        match expanded(text).unwrap().value {
            Value::String(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn references_are_replaced_once() {
        for (text, expected) in [
            (":${PORT}", ":8000"),
            ("${PORT}${PORT}", "80008000"),
            ("${EMPTY:-x}${UNSET:-}|${UNSET:-a:-b}", "x|a:-b"),
            ("$$${PORT} $${PORT} 5$ $x", "$8000 ${PORT} 5$ $x"),
            ("${NESTED}", "${PORT}\", \"x\": \""),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_pointed_at() {
        for (text, message, span) in [
            ("a${UNSET}b", "the variable `UNSET` is not set", 2..10),
            ("${EMPTY}", "the variable `EMPTY` is empty", 1..9),
            ("${1X}", "`${1X}` is not a reference", 1..6),
            ("${}", "`${}` is not a reference", 1..4),
            ("a ${PORT", "`${` is not closed", 3..9),
            ("\\n${UNSET}", "the variable `UNSET` is not set", 0..12),
        ] {
            let found = expanded(text).unwrap_err().remove(0);
            assert_eq!((found.message.as_str(), found.span), (message, Some(span)), "{text}");
        }
    }

    #[test]
    fn only_a_string_that_is_one_reference_is_whole() {
        let whole = |text| expanded(text).unwrap().expanded.is_some_and(|expanded| expanded.whole);
        assert!(whole("${PORT}") && whole("${UNSET:-3}"));
        assert!(!whole("${PORT} ") && !whole("${PORT}${EMPTY:-x}") && !whole("$$"));
    }
}
