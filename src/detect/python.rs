//! The part of Python's grammar that shows what a module binds at its top level, without running it.

/// A statement, on one line or, inside brackets and long strings, over several. Without its comments. A compound statement on one line is two: its header, and what stands below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its place in the file, counted from 1.
    pub(crate) number: usize,
    /// Columns of white space before it: 0 at the top of the module.
    pub(crate) indent: usize,
    pub(crate) text: String,
    /// Why Python does not take the file.
    pub(crate) fault: Option<&'static str>,
}

/// Splits a module into its statements. Text that is not Python gives lines without a meaning.
pub(crate) fn logical_lines(source: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut rest = source;
    let mut number = 1;
    // Where the statement before this one on its line stands, if there is one.
    let mut beside = None;
    while !rest.is_empty() {
        let Statement { text, after, fault } = statement(rest);
        let begins_at = number;
        let taken = &rest[..rest.len() - after.len()];
        number += taken.matches('\n').count();
        rest = after;
        let indent = beside.unwrap_or(text.len() - text.trim_start().len());
        let text = text.trim();
        let (header, body) = header(text).map_or((text, ""), |end| (&text[..end], text[end..].trim()));
        let inner = if body.is_empty() { indent } else { indent + 1 };
        for (indent, text) in [(indent, header), (inner, body)].into_iter().filter(|(_, text)| !text.is_empty()) {
            lines.push(Line { number: begins_at, indent, text: text.to_owned(), fault });
        }
        beside = taken.ends_with(';').then_some(inner);
    }
    lines
}

/// The length of the header of a compound statement, with its colon.
fn header(text: &str) -> Option<usize> {
    let word = text.split(|c: char| !c.is_ascii_alphabetic()).next()?;
    if !["if", "elif", "else", "for", "while", "try", "except", "finally", "with", "class", "def", "async"].contains(&word) {
        return None;
    }
    let mut from = 0;
    loop {
        let colon = from + outside(&text[from..], ':')?;
        if !text[colon + 1..].starts_with('=') {
            return Some(colon + 1);
        }
        from = colon + 1;
    }
}

/// The first statement of a text.
struct Statement<'a> {
    text: String,
    after: &'a str,
    fault: Option<&'static str>,
}

fn statement(source: &str) -> Statement<'_> {
    let mut text = String::new();
    let mut open: Vec<char> = Vec::new();
    let mut at = 0;
    let mut fault = None;
    // Quotes inside an f-string may be those around it, which is not followed here.
    let mut is_formatted = false;
    let mut after = "";
    while let Some(next) = source[at..].chars().next() {
        let end = at + next.len_utf8();
        match next {
            '\n' | ';' if open.is_empty() => {
                after = &source[end..];
                break;
            }
            '\n' => text.push(' '),
            '#' => {
                at += source[at..].find('\n').unwrap_or(source.len() - at);
                continue;
            }
            '\\' if source[end..].starts_with('\n') => {
                at = end + 1;
                continue;
            }
            '"' | '\'' => {
                is_formatted |= text.chars().rev().take_while(char::is_ascii_alphabetic).any(|prefix| prefix.eq_ignore_ascii_case(&'f'));
                let (string, is_closed) = string(&source[at..]);
                text.push_str(string);
                at += string.len();
                if !is_closed {
                    fault = Some("a string is not closed");
                }
                continue;
            }
            '(' | '[' | '{' => open.push(next),
            ')' | ']' | '}' if open.pop() != Some(opening(next)) => fault = Some("a bracket is closed that is not open"),
            _ => {}
        }
        if next != '\n' {
            text.push(next);
        }
        at = end;
    }
    if !open.is_empty() {
        fault = fault.or(Some("a bracket is not closed"));
    }
    Statement { text, after, fault: fault.filter(|_| !is_formatted) }
}

fn opening(bracket: char) -> char {
    match bracket {
        ')' => '(',
        ']' => '[',
        _ => '{',
    }
}

/// The string literal at the beginning of `source`, with its quotes, and whether it is closed. If it is not, it ends with the line or the source.
pub(crate) fn string(source: &str) -> (&str, bool) {
    let quote = if source.starts_with("\"\"\"") || source.starts_with("'''") { &source[..3] } else { &source[..1] };
    let mut at = quote.len();
    while at < source.len() {
        let rest = &source[at..];
        if rest.starts_with(quote) {
            return (&source[..at + quote.len()], true);
        }
        if rest.starts_with('\n') && quote.len() == 1 {
            break;
        }
        // A character after a backslash does not end the string, and may have several octets.
        let skipped = usize::from(rest.starts_with('\\'));
        at += rest.chars().take(skipped + 1).map(char::len_utf8).sum::<usize>();
    }
    (&source[..at], false)
}

impl Line {
    /// `name = value`, also with an annotation.
    pub(crate) fn assignment(&self) -> Option<(&str, &str)> {
        let (target, value) = self.text.split_once('=')?;
        if value.starts_with('=') || target.ends_with(['!', '<', '>', '+', '-', '*', '/', '|', '&', ':']) {
            return None;
        }
        let name = target.split(':').next().unwrap_or_default().trim();
        is_name(name).then(|| (name, value.trim()))
    }

    /// The name and the parameters of the function that is defined here. A parameter has no annotation, and its default if there is one.
    pub(crate) fn function(&self) -> Option<(&str, Vec<&str>)> {
        let (name, rest) = self.text.strip_prefix("def ")?.split_once('(')?;
        let parameters = &rest[..closing(rest)?];
        Some((name.trim(), split(parameters)))
    }

    /// The name of a class that is defined here.
    pub(super) fn class(&self) -> Option<&str> {
        let name = self.text.strip_prefix("class ")?.split(['(', ':']).next()?.trim();
        is_name(name).then_some(name)
    }
}

/// The dotted name and the arguments of the last call in an expression: `a.b(c)(d).e(f)` calls `e` with `f`.
pub(super) fn last_call(expression: &str) -> Option<(&str, &str)> {
    let mut last = None;
    let mut rest = expression.trim();
    loop {
        let open = rest.find('(')?;
        let name = rest[..open].trim().trim_start_matches('.');
        let inside = &rest[open + 1..];
        let close = closing(inside)?;
        if !name.is_empty() {
            if !name.split('.').all(is_name) {
                return None;
            }
            last = Some((name, &inside[..close]));
        }
        rest = inside[close + 1..].trim();
        if rest.is_empty() {
            return last;
        }
    }
}

/// The value of a string literal without escapes.
pub(super) fn literal(expression: &str) -> Option<&str> {
    let expression = expression.trim();
    let quote = expression.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let text = expression[1..].strip_suffix(quote)?;
    (!text.contains([quote, '\\'])).then_some(text)
}

/// Splits at the commas outside brackets and strings.
pub(crate) fn split(list: &str) -> Vec<&str> {
    let mut parts = split_at(list, ',');
    parts.retain(|part| !part.is_empty());
    parts
}

/// Splits at a character, where it stands outside brackets and strings.
pub(crate) fn split_at(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = outside(rest, separator) {
        parts.push(rest[..at].trim());
        rest = &rest[at + separator.len_utf8()..];
    }
    parts.push(rest.trim());
    parts
}

/// The first place of a character outside brackets and strings.
fn outside(text: &str, wanted: char) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(next) = text[at..].chars().next() {
        match next {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '"' | '\'' => {
                at += string(&text[at..]).0.len();
                continue;
            }
            _ if depth == 0 && next == wanted => return Some(at),
            _ => {}
        }
        at += next.len_utf8();
    }
    None
}

/// Where the bracket that was opened just before `text` is closed.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(next) = text[at..].chars().next() {
        match next {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return Some(at),
            ')' | ']' | '}' => depth -= 1,
            '"' | '\'' => {
                at += string(&text[at..]).0.len();
                continue;
            }
            _ => {}
        }
        at += next.len_utf8();
    }
    None
}

/// Whether this is an identifier.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first == '_' || first.is_alphabetic()) && text.chars().all(|next| next == '_' || next.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statements_go_on_in_brackets_and_strings() {
        let source = "\"\"\"Doc\napp = Flask(__name__)\n\"\"\"\napp = Flask(\n    __name__,  # mine (\n    x=')',\n)\nif a:\n    b = '#' \\\n        'c'\n";
        let lines: Vec<_> = logical_lines(source).into_iter().map(|line| (line.indent, line.text)).collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        let words = |at: usize| lines[at].1.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!((lines[1].0, words(1)), (0, "app = Flask( __name__, x=')', )".to_owned()));
        assert_eq!((lines[3].0, words(3)), (4, "b = '#' 'c'".to_owned()));
    }

    #[test]
    fn statements_on_one_line_are_told_apart() {
        let source = "a = ';'; b = 2\nif x[1:2]: c = 3; d = 4\nelse: e = 5\nif (y := 6):\n    f = 7\nwhile z := g(): h = {1: 2}\n";
        let lines: Vec<_> = logical_lines(source).into_iter().map(|line| (line.number, line.indent, line.text)).collect();
        let expected = [
            (1, 0, "a = ';'"),
            (1, 0, "b = 2"),
            (2, 0, "if x[1:2]:"),
            (2, 1, "c = 3"),
            (2, 1, "d = 4"),
            (3, 0, "else:"),
            (3, 1, "e = 5"),
            (4, 0, "if (y := 6):"),
            (5, 4, "f = 7"),
            (6, 0, "while z := g():"),
            (6, 1, "h = {1: 2}"),
        ];
        assert_eq!(lines, expected.map(|(number, indent, text)| (number, indent, text.to_owned())));
    }

    #[test]
    fn a_text_that_python_refuses_has_its_fault() {
        for (source, fault) in [
            ("a = 'b\nc = 1", Some("a string is not closed")),
            ("a = \"\"\"b\nc", Some("a string is not closed")),
            ("a = (1,\n", Some("a bracket is not closed")),
            ("a = [1)\n", Some("a bracket is closed that is not open")),
            ("a = 1)\n", Some("a bracket is closed that is not open")),
            ("a = 'it\\'s' # '\n", None),
            ("a = f'{b['it\"s']}'\n", None),
        ] {
            assert_eq!(logical_lines(source).iter().find_map(|line| line.fault), fault, "{source}");
        }
    }

    #[test]
    fn bindings_are_read() {
        let line = |text: &str| Line { number: 1, indent: 0, text: text.to_owned(), fault: None };
        assert_eq!(line("app: Flask = Flask(__name__)").assignment(), Some(("app", "Flask(__name__)")));
        for no in ["a == b", "a.b = c", "a += b", "f(a=b)", "a, b = c", "if (a := b):"] {
            assert_eq!(line(no).assignment(), None, "{no}");
        }
        let make = line("def make(a: dict[str, int] = {'x': 1, 'y': 2}, *, b=None) -> Flask:");
        assert_eq!(make.function(), Some(("make", vec!["a: dict[str, int] = {'x': 1, 'y': 2}", "*", "b=None"])));
        assert_eq!(line("class App(Base):").class(), Some("App"));
        assert_eq!(last_call("web.application(urls, globals()).wsgifunc()"), Some(("wsgifunc", "")));
        assert_eq!(last_call("falcon.App(middleware=[a(')')])"), Some(("falcon.App", "middleware=[a(')')]")));
        assert_eq!(last_call("make()(x)"), Some(("make", "")));
        for no in ["a + b()", "[f() for f in x]", "f(", "f() + 1", "lambda: f()"] {
            assert_eq!(last_call(no), None, "{no}");
        }
        assert_eq!(literal("'mysite.settings'"), Some("mysite.settings"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(source in "[a-f=()\\[\\]{}'\"#\\\\\n:, \u{e9}]{0,60}") {
            for line in logical_lines(&source) {
                let _ = (line.assignment(), line.function(), line.class(), last_call(&line.text), literal(&line.text), split(&line.text));
            }
        }
    }
}
