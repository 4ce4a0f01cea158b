//! Command lines of a shell: their words, and which of their commands starts a server.

mod calls;

use std::collections::HashMap;

use super::commands::Variable;
use super::value::{Reference, Value, escaped, variable};
pub(super) use calls::{Blocks, Call, call};

/// A word, as it is written without quotes, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) raw: String,
    pub(super) value: Value,
}

impl Word {
    /// The word with the values of these variables in place of their names.
    pub(super) fn filled(&self, known: &HashMap<String, String>) -> Self {
        let Value::Text(text) = &self.value else { return self.clone() };
        let mut filled = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find('$') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let length = if rest.starts_with("${") {
                rest.find('}').map_or(rest.len(), |end| end + 1)
            } else {
                rest.char_indices().nth(2).map_or(rest.len(), |(end, _)| end)
            };
            let value = Reference::of(&rest[..length]).and_then(|variable| known.get(variable.name)).filter(|value| !value.is_empty());
            filled.push_str(value.map_or(&rest[..length], String::as_str));
            rest = &rest[length..];
        }
        filled.push_str(rest);
        // What doubles in each line grows without end.
        if filled.len() > LONGEST_VALUE { self.clone() } else { Self { raw: self.raw.clone(), value: Value::Text(filled) } }
    }

    /// Whether it is a variable or another expansion and nothing else, which may hold several words.
    pub(super) fn is_variable(&self) -> bool {
        if self.raw.starts_with('`') {
            return matches!(self.value, Value::Code(_));
        }
        let Some(expansion) = self.raw.strip_prefix('$') else { return false };
        let inside = expansion.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        let name = inside.map_or(expansion, |inside| inside.split([':', '-']).next().unwrap_or_default());
        variable(name, None).is_some() || matches!(self.value, Value::Code(_))
    }

    /// The words that a variable by itself holds, if these lines set it.
    pub(super) fn held(&self, variables: &[Variable]) -> Option<Vec<Self>> {
        let text = match self.value.reference() {
            Some(Reference { name, .. }) => variables.iter().rfind(|(_, known, _)| known == name).map(|(.., value)| value.text())?,
            None => self.value.text(),
        }?;
        Some(text.split_whitespace().map(|part| Self { raw: part.to_owned(), value: Value::Text(part.to_owned()) }).collect())
    }

    /// Whether it sets a variable.
    pub(super) fn is_assignment(&self) -> bool {
        self.raw.split_once('=').is_some_and(|(name, _)| variable(name, None).is_some())
    }
}

/// The longest value that is filled in.
const LONGEST_VALUE: usize = 4096;

/// The most octets of a `$(...)` that is recognized.
const LONGEST_SUBSTITUTION: usize = 1024;

/// The words of a line. Variables are references, and what `$(...)` and backticks print is not known.
pub(super) fn words(line: &str) -> Result<Vec<Word>, String> {
    // What is between them may hold spaces and quotes: it is one character while the line is split.
    let (line, hidden) = hide(line);
    let words = shlex::split(&line).ok_or("a quote is not closed")?;
    Ok(words.into_iter().map(|word| value(&word, &hidden)).collect())
}

/// Takes command substitutions out of a line, and dollar signs that a quote or a backslash makes plain. Each is replaced by a character of a private area.
fn hide(line: &str) -> (String, Vec<String>) {
    let (mut text, mut hidden) = (String::new(), Vec::new());
    let mut rest = line;
    let mut quote = None;
    while let Some(next) = rest.chars().next() {
        let is_plain = quote == Some('\'');
        match next {
            '\'' | '"' if quote == Some(next) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(next),
            '\\' if !is_plain => {
                let escaped = rest[1..].chars().next().unwrap_or_default();
                let length = if rest.len() > 1 { 1 + escaped.len_utf8() } else { 1 };
                if escaped == '$' {
                    text.push(DOLLAR)
                } else {
                    text.extend(rest[..length].chars().map(unmarked))
                }
                rest = &rest[length..];
                continue;
            }
            _ => {}
        }
        let length = if is_plain {
            None
        } else if next == '`' {
            rest[1..].find('`').map(|end| end + 2)
        } else if rest.starts_with("$(") {
            closing(rest)
        } else {
            None
        };
        let mark = u32::try_from(hidden.len()).ok().and_then(|at| char::from_u32(FIRST_MARK + at)).filter(|mark| *mark <= LAST_MARK);
        match (length, mark) {
            (Some(length), Some(mark)) => {
                text.push(mark);
                hidden.push(rest[..length].to_owned());
                rest = &rest[length..];
            }
            _ => {
                text.push(if is_plain && next == '$' { DOLLAR } else { unmarked(next) });
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    (text, hidden)
}

/// A dollar sign that is no variable.
const DOLLAR: char = '\u{e000}';
const FIRST_MARK: u32 = 0xe001;
const LAST_MARK: char = '\u{f8ff}';

/// The characters of the private area are not for lines themselves.
fn unmarked(c: char) -> char {
    if (DOLLAR..=LAST_MARK).contains(&c) { '?' } else { c }
}

/// The length of `$(...)` at the beginning of `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, octet) in text.bytes().take(LONGEST_SUBSTITUTION).enumerate() {
        match octet {
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at + 1),
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn value(word: &str, hidden: &[String]) -> Word {
    let mut raw = String::new();
    let mut is_code = false;
    for next in word.chars() {
        match hidden.get((next as usize).wrapping_sub(FIRST_MARK as usize)) {
            _ if next == DOLLAR => raw.push('$'),
            Some(code) => {
                is_code = true;
                raw.push_str(code);
            }
            None => raw.push(next),
        }
    }
    let value = match (is_code, template(word)) {
        (true, _) if raw.contains("nproc") => Value::Cores,
        (false, Some(text)) => Value::Text(text.replace(DOLLAR, "$$")),
        _ => Value::Code(raw.clone()),
    };
    Word { raw, value }
}

/// `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME-default}` as references of the pipeline file. Other expansions have none.
fn template(word: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let (reference, length) = if let Some(inside) = after.strip_prefix('{') {
            let end = inside.find('}')?;
            let (name, default) = match inside[..end].split_once('-') {
                Some((name, default)) => (name.trim_end_matches(':'), Some(default)),
                None => (&inside[..end], None),
            };
            (variable(name, default)?, end + 2)
        } else {
            let length = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            match variable(&after[..length], None) {
                Some(reference) => (reference, length),
                // A `$` before another character is one.
                None if length == 0 && !after.starts_with(['$', '@', '*', '?', '!', '#', '-']) => ("$$".to_owned(), 0),
                None => return None,
            }
        };
        text.push_str(&reference);
        rest = &after[length..];
    }
    text.push_str(rest);
    Some(text)
}

/// The value of `NAME=value`.
pub(super) fn after_equals(word: &Word) -> Value {
    match &word.value {
        Value::Text(text) => Value::Text(text.split_once('=').map_or("", |(_, value)| value).to_owned()),
        other => other.clone(),
    }
}

/// A word that a service manager reads: `$NAME` and `${NAME}` are variables in quotes, too, `$$` is a dollar sign, `%%` is a percent sign, and other specifiers are not known.
pub(super) fn of_unit(word: &Word) -> Word {
    let plain = word.raw.replace("%%", "\u{0}");
    if plain.contains('%') {
        return Word { raw: word.raw.clone(), value: Value::Code(word.raw.clone()) };
    }
    let text = plain.replace('\u{0}', "%");
    let raw = text.replace("$$", "$");
    let mark = DOLLAR.to_string();
    let value =
        template(&text.replace("$$", &mark)).map_or_else(|| Value::Code(raw.clone()), |text| Value::Text(text.replace(DOLLAR, "$$")));
    Word { raw, value }
}

/// Words of a list, as in a Dockerfile: no shell sees them.
pub(super) fn literals(words: &[String]) -> Vec<Word> {
    words.iter().map(|word| Word { raw: word.clone(), value: Value::Text(escaped(word)) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dollar_sign_is_a_variable_unless_a_quote_or_a_backslash_makes_it_plain() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (line, expected) in [
            ("$A", text("${A}")),
            ("\"$A\"", text("${A}")),
            ("'$A'", text("$$A")),
            ("\\$A", text("$$A")),
            ("\"\\$A\"", text("$$A")),
            ("a'$A'\"$B\"", text("a$$A${B}")),
            ("\"it's $A\"", text("it's ${A}")),
            ("'$(date)'", text("$$(date)")),
            ("$(date)", Value::Code("$(date)".to_owned())),
            ("'a b'", text("a b")),
        ] {
            let words = words(line).unwrap();
            assert_eq!(words.iter().map(|word| word.value.clone()).collect::<Vec<_>>(), [expected], "{line}");
        }
        let script = words("sh -c 'gunicorn -b :$PORT a:b'").unwrap();
        assert_eq!(call(&script, "gunicorn").unwrap().arguments[1].value, text(":${PORT}"));
    }

    #[test]
    fn the_command_that_is_always_run_starts_the_server() {
        for (line, arguments, condition) in [
            ("gunicorn a:b; gunicorn c:d", "a:b", None),
            ("if [ \"$X\" ]; then gunicorn a:b; else gunicorn c:d; fi", "a:b", Some("if [ $X ]")),
            ("if [ \"$X\" ]; then gunicorn a:b; fi; gunicorn c:d", "c:d", None),
            ("case $1 in web) gunicorn a:b;; esac", "a:b", Some("case $1 in web)")),
            ("[ -n \"$X\" ] && gunicorn a:b || exec gunicorn c:d", "a:b", Some("[ -n $X ] &&")),
            ("test -x /bin/gunicorn; mkdir -p /var/log/gunicorn && gunicorn a:b", "a:b", None),
            ("if gunicorn --check-config a:b; then gunicorn c:d; fi", "c:d", Some("if gunicorn --check-config a:b")),
            ("gosu app python3 -u -m gunicorn.app.wsgiapp a:b", "a:b", None),
            ("tini -- su-exec app dumb-init gunicorn a:b", "a:b", None),
        ] {
            let call = call(&words(line).unwrap(), "gunicorn").unwrap();
            let written: Vec<&str> = call.arguments.iter().map(|word| word.raw.as_str()).collect();
            assert_eq!((written.join(" ").as_str(), call.condition.as_deref()), (arguments, condition), "{line}");
        }
        for line in
            ["pip install gunicorn", "cd /srv/gunicorn", "sudo mkdir -p /run/gunicorn", "[ -f gunicorn ]", "python -m gunicorns a:b"]
        {
            assert!(call(&words(line).unwrap(), "gunicorn").is_none(), "{line}");
        }
    }

    #[test]
    fn values_of_variables_are_filled_in() {
        let known = HashMap::from([("A".to_owned(), "x".to_owned()), ("EMPTY".to_owned(), String::new())]);
        for (line, expected) in
            [("a$A/${A:-y}$B", "ax/x${B}"), ("'$A'\\$A", "$$A$$A"), ("${EMPTY:-z}", "${EMPTY:-z}"), ("\u{e9}$\u{e9}$A", "\u{e9}$$\u{e9}x")]
        {
            assert_eq!(words(line).unwrap()[0].filled(&known).value, Value::Text(expected.to_owned()), "{line}");
        }
    }
}
