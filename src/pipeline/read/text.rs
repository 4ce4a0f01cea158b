//! From text to a tree: strict JSON, or JSON with comments and trailing commas.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use ziggurat_middleware::system_words;

use super::syntax::{explain, stray_octet, too_deep};
use crate::pipeline::diagnostic::{Diagnostic, Id, Report, Source};
use crate::pipeline::tree::{Entry, Node, Span, Value};

/// A bound on the size of a file, far above that of any pipeline.
const MAX_OCTETS: usize = 1 << 20;

/// A bound on nesting: deeper than any pipeline, and safe for the stack of any thread.
pub(super) const MAX_DEPTH: usize = 100;

/// The syntax of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// JSON (RFC 8259).
    Json,
    /// JSON with comments and trailing commas.
    Jsonc,
}

impl Dialect {
    pub(crate) fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("jsonc")) { Self::Jsonc } else { Self::Json }
    }
}

/// Reads the whole file, within bounds.
fn read(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    let name = path.display();
    let cannot =
        |error: std::io::Error| Diagnostic::without_place(Id::UnreadableFile, format!("cannot read `{name}`: {}", system_words(&error)));
    let metadata = std::fs::metadata(path).map_err(|error| {
        let diagnostic = cannot(error);
        if path == Path::new("pipeline.json") {
            diagnostic.hint("name the file, as in `ziggurat run site/pipeline.json`")
        } else {
            diagnostic
        }
    })?;
    if metadata.is_dir() {
        return Err(Diagnostic::without_place(Id::UnreadableFile, format!("`{name}` is a folder"))
            .hint("name the file in it, for instance `pipeline.json`"));
    }
    let mut octets = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_OCTETS as u64 + 1).read_to_end(&mut octets)).map_err(cannot)?;
    Ok(octets)
}

/// Reads a file as text; messages show its path as it is written.
pub(crate) fn load(path: &Path) -> Result<Source, Report> {
    let name = path.display().to_string();
    let nothing = || Arc::new(Source { name: name.clone(), text: String::new() });
    let octets = read(path).map_err(|finding| Report::new(nothing(), vec![finding]))?;
    decode(&name, octets)
}

/// Takes the octets of a file as text.
pub(crate) fn decode(name: &str, octets: Vec<u8>) -> Result<Source, Report> {
    let source = |text| Source { name: name.to_owned(), text };
    let refuse = |text: String, finding| Err(Report::new(Arc::new(source(text)), vec![finding]));
    if octets.len() > MAX_OCTETS {
        return refuse(
            String::new(),
            Diagnostic::without_place(Id::UnreadableFile, format!("`{name}` is larger than 1 MiB, the limit of a pipeline file")),
        );
    }
    let text = match String::from_utf8(octets) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let finding = Diagnostic::error(Id::UnreadableFile, "the file is not UTF-8 text", at..at + '\u{fffd}'.len_utf8());
            let finding = finding.label("this octet is not part of a character").hint("save the file as UTF-8");
            return refuse(String::from_utf8_lossy(error.as_bytes()).into_owned(), finding);
        }
    };
    if text.starts_with('\u{feff}') {
        let finding = Diagnostic::error(Id::UnreadableFile, "the file begins with a byte order mark", 0..'\u{feff}'.len_utf8())
            .label("invisible, and not allowed in JSON (RFC 8259 section 8.1)")
            .hint("save the file as UTF-8 without a byte order mark");
        return refuse(text, finding);
    }
    Ok(source(text))
}

/// The text without a first line `#!`, with which the system starts a program for the file. Places in the rest stay where they are.
fn without_interpreter(text: &str) -> Cow<'_, str> {
    if !text.starts_with("#!") {
        return text.into();
    }
    let (line, rest) = text.split_at(memchr::memchr(b'\n', text.as_bytes()).unwrap_or(text.len()));
    (" ".repeat(line.len()) + rest).into()
}

/// Parses a text into a tree.
pub(crate) fn parse(text: &str, dialect: Dialect) -> Result<Node, Vec<Diagnostic>> {
    let text = &*without_interpreter(text);
    if let Some(diagnostic) = stray_octet(text, dialect) {
        return Err(vec![diagnostic]);
    }
    let jsonc = dialect == Dialect::Jsonc;
    let options = ParseOptions {
        allow_comments: jsonc,
        allow_loose_object_property_names: false,
        allow_trailing_commas: jsonc,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let value = match parse_to_ast(text, &CollectOptions::default(), &options) {
        Ok(parsed) => parsed.value,
        Err(error) => return Err(vec![explain(text, error.range().start..error.range().end, error.kind())]),
    };
    let Some(value) = value else {
        return Err(vec![
            Diagnostic::error(Id::Syntax, "the file is empty", 0..0)
                .label("a pipeline is a JSON object")
                .hint("the smallest one is `{ \"app\": { \"wsgi\": \"hello:app\" } }`"),
        ]);
    };
    let mut findings = Vec::new();
    let node = convert(value, 0, &mut findings);
    if findings.is_empty() { Ok(node) } else { Err(findings) }
}

fn convert(value: ast::Value<'_>, depth: usize, findings: &mut Vec<Diagnostic>) -> Node {
    let range = value.range();
    let span = range.start..range.end;
    if depth > MAX_DEPTH {
        if findings.is_empty() {
            findings.push(too_deep(span.start, MAX_DEPTH));
        }
        return Node::new(span, Value::Null);
    }
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
        ast::Value::NumberLit(literal) => match serde_json::from_str(literal.value) {
            Ok(number) => Value::Number(number),
            Err(_) => {
                findings.push(Diagnostic::error(
                    Id::Syntax,
                    format!("`{}` is not a number that JSON can hold", literal.value),
                    span.clone(),
                ));
                Value::Null
            }
        },
        ast::Value::StringLit(literal) => Value::String(literal.value.into_owned()),
        ast::Value::Array(array) => Value::Array(array.elements.into_iter().map(|item| convert(item, depth + 1, findings)).collect()),
        ast::Value::Object(object) => {
            let mut entries: Vec<Entry> = Vec::new();
            let mut seen = std::collections::HashMap::new();
            for property in object.properties {
                let range = property.name.range();
                let key_span = range.start..range.end;
                let key = property.name.into_string();
                let value = convert(property.value, depth + 1, findings);
                match seen.get(&key) {
                    Some(first) => findings.push(duplicate(&key, key_span, Span::clone(first))),
                    None => {
                        seen.insert(key.clone(), key_span.clone());
                        entries.push(Entry { key, key_span, value });
                    }
                }
            }
            Value::Object(entries)
        }
    };
    Node::new(span, value)
}

fn duplicate(key: &str, again: Span, first: Span) -> Diagnostic {
    Diagnostic::error(Id::DuplicateKey, format!("the object has the key `{key}` twice"), again)
        .label("the second one")
        .related(first, "the first one")
        .hint("keep one of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str, dialect: Dialect) -> String {
        parse(text, dialect).unwrap_err().remove(0).message
    }

    #[test]
    fn comments_and_trailing_commas_are_for_jsonc() {
        let text = "{ /* a \" quote */ \"a\": [1, 2,], // rest\n}";
        assert!(parse(text, Dialect::Jsonc).is_ok());
        assert_eq!(refusal(text, Dialect::Json), "a `.json` file has a comment");
        assert_eq!(refusal("{\"a\": [1,]}", Dialect::Json), "a comma follows the last item");
    }

    #[test]
    fn what_only_lenient_parsers_take_is_refused() {
        for text in [
            "{'a': 1}",
            "{a: 1}",
            "[01]",
            "[+1]",
            "[.5]",
            "[1.]",
            "[0x1]",
            "[NaN]",
            "[\"\t\"]",
            "[\"\\x41\"]",
            "[1 2]",
            "[\u{a0}1]",
            "[1e999]",
            "\u{0}",
            "",
        ] {
            assert!(parse(text, Dialect::Json).is_err(), "{text}");
        }
    }

    #[test]
    fn the_line_of_an_interpreter_is_skipped_and_moves_nothing() {
        let text = "#!/usr/bin/ziggurat \"é\n{}";
        assert_eq!(parse(text, Dialect::Json).unwrap().span, text.find('{').unwrap()..text.len());
        assert!(parse("#!/usr/bin/ziggurat", Dialect::Json).is_err());
        assert!(parse("\n#!/usr/bin/ziggurat\n{}", Dialect::Json).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(parse(&("[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH)), Dialect::Json).is_ok());
        for depth in [MAX_DEPTH + 2, 600, 200_000] {
            assert!(refusal(&("[".repeat(depth) + &"]".repeat(depth)), Dialect::Json).contains("nested"));
        }
    }
}
