//! Expressions of Python whose values are known without running them: literals, sums of them, and the environment.

use std::collections::HashMap;

use super::value::{Reference, Value, escaped, variable};
use crate::detect::python::{is_name, split, string};

/// How deep an expression may be nested.
const DEEPEST: usize = 24;

/// What `workers` has in place of the number of processors.
const AUTO: &str = "auto";

/// A bound on the length of an expression.
const LONGEST: usize = 16 * 1024;

/// Values of names.
pub(super) type Names = HashMap<String, Value>;

/// The value of an expression; [`Value::Code`] if only Python knows it.
pub(super) fn evaluate(expression: &str, names: &Names) -> Value {
    let known = if expression.len() <= LONGEST { value(expression, names, 0) } else { None };
    known.unwrap_or_else(|| Value::Code(expression.trim().to_owned()))
}

fn value(expression: &str, names: &Names, depth: usize) -> Option<Value> {
    let expression = expression.trim();
    if depth > DEEPEST || expression.is_empty() {
        return None;
    }
    let deeper = |expression: &str| value(expression, names, depth + 1);
    if let Some((left, right)) = operands(expression, &[" or "]) {
        return either(deeper(left)?, deeper(right)?);
    }
    if [" if ", " and ", " for ", "lambda ", "=="].iter().any(|word| operands(expression, &[*word]).is_some())
        || expression.starts_with("lambda")
    {
        return None;
    }
    if let Some((left, right)) = operands(expression, &["+", "-"]) {
        let is_sum = expression.as_bytes().get(left.len()) == Some(&b'+');
        return sum(deeper(left)?, deeper(right)?, is_sum);
    }
    if let Some((left, right)) = operands(expression, &["*", "//", "/", "%"]) {
        return product(deeper(left)?, deeper(right)?, expression[left.len()..].starts_with('*'));
    }
    if let Some(rest) = expression.strip_prefix('-') {
        return match deeper(rest)? {
            Value::Int(number) => number.checked_neg().map(Value::Int),
            _ => None,
        };
    }
    atom(expression, names, depth)
}

/// The last of these operators outside brackets and strings, with what stands on both sides of it: operators of one rank bind from the left.
fn operands<'a>(expression: &'a str, operators: &[&str]) -> Option<(&'a str, &'a str)> {
    let mut found = None;
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(next) = expression[at..].chars().next() {
        match next {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '"' | '\'' => {
                at += string(&expression[at..]).0.len();
                continue;
            }
            _ => {}
        }
        let operator = operators.iter().find(|operator| depth == 0 && expression[at..].starts_with(**operator));
        let is_sign = expression[..at].trim_end().is_empty() || expression[..at].trim_end().ends_with(['+', '-', '*', '/', '(', ',']);
        match operator {
            Some(operator) if !is_sign => {
                found = Some((&expression[..at], &expression[at + operator.len()..]));
                at += operator.len();
            }
            _ => at += next.len_utf8(),
        }
    }
    found
}

/// `a or b`: a variable of the environment takes the second as its default.
fn either(left: Value, right: Value) -> Option<Value> {
    let Value::Text(text) = &left else {
        return Some(match left {
            Value::None | Value::Bool(false) | Value::Int(0) => right,
            other => other,
        });
    };
    match Reference::of(text) {
        Some(Reference { name, default: None | Some("") }) => with_default(name, &right),
        _ if text.is_empty() => Some(right),
        _ => Some(left),
    }
}

/// A variable of the environment, and its value where it is not set.
fn with_default(name: &str, default: &Value) -> Option<Value> {
    let default = match default {
        Value::None => None,
        Value::Cores => Some(AUTO.to_owned()),
        Value::Bool(truth) => Some(truth.to_string()),
        other => Some(other.plain_text()?),
    };
    variable(name, default.as_deref()).map(Value::Text)
}

fn sum(left: Value, right: Value, is_sum: bool) -> Option<Value> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => (if is_sum { left.checked_add(right) } else { left.checked_sub(right) }).map(Value::Int),
        (Value::Text(left), Value::Text(right)) if is_sum => Some(Value::Text(left + &right)),
        (Value::List(mut left), Value::List(right)) if is_sum => {
            left.extend(right);
            Some(Value::List(left))
        }
        (Value::Cores, Value::Int(_) | Value::Cores) | (Value::Int(_), Value::Cores) => Some(Value::Cores),
        _ => None,
    }
}

fn product(left: Value, right: Value, is_product: bool) -> Option<Value> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) if is_product => left.checked_mul(right).map(Value::Int),
        (Value::Int(left), Value::Int(right)) => left.checked_div(right).map(Value::Int),
        (Value::Cores, Value::Int(_) | Value::Cores) | (Value::Int(_), Value::Cores) => Some(Value::Cores),
        _ => None,
    }
}

fn atom(text: &str, names: &Names, depth: usize) -> Option<Value> {
    let inside =
        |open: char, close: char| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)).filter(|_| ends_at_its_end(text));
    let all = |parts: &str| split(parts).into_iter().map(|part| value(part, names, depth + 1)).collect::<Option<Vec<_>>>();
    if let Some(parts) = inside('[', ']') {
        return all(parts).map(Value::List);
    }
    if let Some(parts) = inside('(', ')') {
        let mut values = all(parts)?;
        let is_tuple = values.len() != 1 || parts.trim_end().ends_with(',');
        return if is_tuple { Some(Value::List(values)) } else { values.pop() };
    }
    if let Some(parts) = inside('{', '}') {
        let entry = |part: &str| {
            operands(part, &[":"]).and_then(|(key, item)| Some((value(key, names, depth + 1)?, value(item, names, depth + 1)?)))
        };
        return split(parts).into_iter().map(entry).collect::<Option<Vec<_>>>().map(Value::Dict);
    }
    match text {
        "None" => return Some(Value::None),
        "True" => return Some(Value::Bool(true)),
        "False" => return Some(Value::Bool(false)),
        "ssl.CERT_NONE" => return Some(Value::Int(0)),
        "ssl.CERT_OPTIONAL" => return Some(Value::Int(1)),
        "ssl.CERT_REQUIRED" => return Some(Value::Int(2)),
        _ => {}
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return number(text).map(Value::Int);
    }
    if is_name(text) {
        return names.get(text).cloned();
    }
    strings(text, names, depth).or_else(|| environment(text, names, depth)).or_else(|| call(text, names, depth))
}

/// Whether the bracket that opens a text is closed at its end, as it is not in `(a).b(c)`.
fn ends_at_its_end(text: &str) -> bool {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(next) = text[at..].chars().next() {
        match next {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '"' | '\'' => {
                at += string(&text[at..]).0.len();
                continue;
            }
            _ => {}
        }
        at += next.len_utf8();
        if depth == 0 {
            return at == text.len();
        }
    }
    false
}

fn number(text: &str) -> Option<i64> {
    let digits = text.replace('_', "");
    let radix = |prefix: &str, radix| digits.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, radix).ok());
    digits.parse().ok().or_else(|| radix("0o", 8)).or_else(|| radix("0x", 16)).or_else(|| radix("0b", 2))
}

/// String literals, one after the other.
fn strings(text: &str, names: &Names, depth: usize) -> Option<Value> {
    let mut whole = String::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let start = rest.find(['"', '\''])?;
        let prefix = rest[..start].to_ascii_lowercase();
        let (literal, is_closed) = string(&rest[start..]);
        if !is_closed {
            return None;
        }
        let length = literal.len();
        let quotes = if literal.len() >= 6 && (literal.starts_with("\"\"\"") || literal.starts_with("'''")) { 3 } else { 1 };
        let inside = literal.get(quotes..literal.len().checked_sub(quotes)?)?;
        whole.push_str(&match prefix.as_str() {
            "" | "u" => escaped(&unescape(inside)?),
            "r" => escaped(inside),
            "f" => formatted(inside, names, depth)?,
            _ => return None,
        });
        rest = rest[start + length..].trim_start();
    }
    Some(Value::Text(whole))
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(next) = characters.next() {
        plain.push(match next {
            '\\' => match characters.next()? {
                'n' => '\n',
                't' => '\t',
                same @ ('\\' | '"' | '\'') => same,
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

/// The text of an f-string.
fn formatted(text: &str, names: &Names, depth: usize) -> Option<String> {
    let mut whole = String::new();
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        whole.push_str(&escaped(&unescape(&rest[..open])?));
        let brace = &rest[open..];
        if brace.starts_with("{{") || brace.starts_with("}}") {
            whole.push_str(&brace[..1]);
            rest = &brace[2..];
            continue;
        }
        let inside = brace.strip_prefix('{')?;
        let (end, _) = inside
            .char_indices()
            .find(|(at, next)| *next == '}' && inside[..*at].matches('{').count() == inside[..*at].matches('}').count())?;
        whole.push_str(&value(&inside[..end], names, depth + 1)?.text()?);
        rest = &inside[end + 1..];
    }
    whole.push_str(&escaped(&unescape(rest)?));
    Some(whole)
}

/// `os.environ["NAME"]`, `os.environ.get("NAME", default)`, `os.getenv("NAME", default)`.
fn environment(text: &str, names: &Names, depth: usize) -> Option<Value> {
    if let Some(key) = ["os.environ[", "environ["].iter().find_map(|prefix| text.strip_prefix(prefix)?.strip_suffix(']')) {
        return variable(&value(key, names, depth + 1)?.plain_text()?, None).map(Value::Text);
    }
    let getters = ["os.environ.get", "environ.get", "os.getenv", "getenv"];
    let getter =
        getters.iter().find(|getter| text.strip_prefix(**getter).is_some_and(|rest| rest.starts_with('(') && ends_at_its_end(rest)))?;
    let arguments = split(text[getter.len()..].strip_prefix('(')?.strip_suffix(')')?);
    let name = value(arguments.first()?, names, depth + 1)?.plain_text()?;
    let default = match arguments.get(1) {
        Some(default) => value(default.trim_start_matches("default="), names, depth + 1)?,
        None => Value::None,
    };
    with_default(&name, &default)
}

/// Calls that only convert, and those that count processors.
fn call(text: &str, names: &Names, depth: usize) -> Option<Value> {
    let open = text.find('(').filter(|open| ends_at_its_end(&text[*open..]))?;
    let arguments = split(text[open + 1..].strip_suffix(')')?);
    let only = || value(arguments.first().filter(|_| arguments.len() == 1)?, names, depth + 1);
    match &text[..open] {
        "multiprocessing.cpu_count" | "cpu_count" | "os.cpu_count" | "mp.cpu_count" | "os.process_cpu_count" | "psutil.cpu_count" => {
            Some(Value::Cores)
        }
        "len" if text.contains("sched_getaffinity") => Some(Value::Cores),
        "int" => match only()? {
            Value::Text(digits) if !digits.contains('$') => digits.trim().parse().ok().map(Value::Int),
            Value::Text(text) => Reference::of(&text).is_some().then(|| Value::Text(text.clone())),
            other @ (Value::Int(_) | Value::Cores) => Some(other),
            _ => None,
        },
        "str" => only()?.text().map(Value::Text),
        "min" | "max" => {
            let values = arguments.iter().map(|argument| value(argument, names, depth + 1)).collect::<Option<Vec<_>>>()?;
            if values.contains(&Value::Cores) && values.iter().all(|value| matches!(value, Value::Int(_) | Value::Cores)) {
                return Some(Value::Cores);
            }
            let numbers =
                values.iter().map(|value| if let Value::Int(number) = value { Some(*number) } else { None }).collect::<Option<Vec<_>>>()?;
            if text.starts_with("min") { numbers.into_iter().min() } else { numbers.into_iter().max() }.map(Value::Int)
        }
        _ => None,
    }
}
