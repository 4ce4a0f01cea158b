//! Command lines of a shell: their words, and which of their commands starts a server.

use super::value::{Value, escaped, variable};

/// A word, as it is written without quotes, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) raw: String,
    pub(super) value: Value,
}

/// A command that starts a server.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// Variables that are set for it alone.
    pub(super) environment: Vec<(String, Value)>,
    /// Words before the server, and other commands of the line.
    pub(super) around: Vec<String>,
    pub(super) arguments: Vec<Word>,
}

/// The most octets of a `$(...)` that is recognized.
const LONGEST_SUBSTITUTION: usize = 1024;

/// How deep `sh -c` may be nested.
const DEEPEST: usize = 4;

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

/// The first command that starts `server`.
pub(super) fn call(words: &[Word], server: &str) -> Option<Call> {
    nested(words, server, 0)
}

fn nested(words: &[Word], server: &str, depth: usize) -> Option<Call> {
    let mut commands: Vec<Vec<Word>> = vec![Vec::new()];
    for word in words {
        let ends = matches!(word.raw.as_str(), "&&" | "||" | ";" | "|" | "&" | "then" | "do" | "fi" | "done");
        let trimmed = word.raw.strip_suffix(';');
        if let (false, Some(command)) = (ends || trimmed == Some(""), commands.last_mut()) {
            command.push(trimmed.map_or_else(|| word.clone(), |raw| value(raw, &[])));
        }
        if ends || trimmed.is_some() {
            commands.push(Vec::new());
        }
    }
    let mut found = None;
    let mut others = Vec::new();
    for command in commands.into_iter().filter(|command| !command.is_empty()) {
        match simple(&command, server, depth).filter(|_| found.is_none()) {
            Some(call) => found = Some(call),
            None => others.push(joined(&command)),
        }
    }
    let mut call = found?;
    call.around.extend(others);
    Some(call)
}

fn simple(words: &[Word], server: &str, depth: usize) -> Option<Call> {
    let first = words.iter().position(|word| !is_assignment(&word.raw)).unwrap_or(words.len());
    let name = |word: &Word| word.raw.rsplit('/').next().unwrap_or_default().to_owned();
    let is_shell = words.iter().skip(first).position(|word| matches!(name(word).as_str(), "sh" | "bash" | "dash" | "ash"));
    if let Some(shell) = is_shell.map(|at| first + at).filter(|_| depth < DEEPEST)
        && let Some(flag) =
            words[shell..].iter().position(|word| word.raw.starts_with('-') && !word.raw.starts_with("--") && word.raw.ends_with('c'))
        && let Some(script) = words.get(shell + flag + 1)
        && let Some(call) = self::words(&script.raw).ok().and_then(|words| nested(&words, server, depth + 1))
    {
        return Some(call);
    }
    let at = words.iter().position(|word| name(word) == server)?;
    let before = &words[..at];
    // `pip install gunicorn` names it, and does not start it.
    if before
        .iter()
        .any(|word| matches!(word.raw.as_str(), "install" | "add" | "echo" | "pkill" | "killall" | "which" | "type" | "command"))
    {
        return None;
    }
    let (assignments, wrappers): (Vec<&Word>, Vec<&Word>) = before.iter().partition(|word| is_assignment(&word.raw));
    let environment =
        assignments.iter().filter_map(|word| word.raw.split_once('=').map(|(name, _)| (name.to_owned(), after_equals(word)))).collect();
    let wrappers: Vec<&str> = wrappers.iter().map(|word| word.raw.as_str()).filter(|word| !matches!(*word, "exec" | "env")).collect();
    let is_module = matches!(wrappers[..], [python, "-m"] if python.rsplit('/').next().unwrap_or_default().starts_with("python"));
    let around = if wrappers.is_empty() || is_module { Vec::new() } else { vec![wrappers.join(" ")] };
    let redirect = |word: &Word| word.raw.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(['>', '<']);
    let arguments: Vec<Word> =
        words[at + 1..].iter().take_while(|word| !redirect(word)).filter(|word| !is_rest(&word.raw)).cloned().collect();
    Some(Call { environment, around, arguments })
}

/// `"$@"`: the arguments of the script, which are not known.
fn is_rest(word: &str) -> bool {
    matches!(word, "$@" | "$*" | "${@}")
}

/// The value of `NAME=value`.
pub(super) fn after_equals(word: &Word) -> Value {
    match &word.value {
        Value::Text(text) => Value::Text(text.split_once('=').map_or("", |(_, value)| value).to_owned()),
        other => other.clone(),
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| variable(name, None).is_some())
}

fn joined(words: &[Word]) -> String {
    words.iter().map(|word| word.raw.as_str()).collect::<Vec<_>>().join(" ")
}

/// A word that a service manager reads: `$NAME` and `${NAME}` are variables in quotes, too, `%%` is a percent sign, and other specifiers are not known.
pub(super) fn of_unit(word: &Word) -> Word {
    let plain = word.raw.replace("%%", "\u{0}");
    if plain.contains('%') {
        return Word { raw: word.raw.clone(), value: Value::Code(word.raw.clone()) };
    }
    let raw = plain.replace('\u{0}', "%");
    let value = template(&raw).map_or_else(|| Value::Code(raw.clone()), Value::Text);
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
}
