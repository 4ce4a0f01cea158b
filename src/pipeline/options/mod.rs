//! Reads options into their type and finds every mistake in them, not only the first.
//!
//! serde stops at the first mistake. The reader notes it, leaves the value out and reads the options again, until it finds nothing new.

mod de;

use serde::Deserialize;
use ziggurat_middleware::{Finding, Step};

use super::diagnostic::{Diagnostic, Id};
use super::names::{closest, list, suggestion};
use super::secrets::Secrets;
use super::synonyms;
use super::tree::{Node, Span, Value, dotted};
use de::{Address, At, De, Mode, Modes, Reason, address, is_scalar};

/// A bound on the findings about one set of options.
const MAX_FINDINGS: usize = 50;

/// Reads the options of one owner. Messages name the owner, and never show a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OptionReader<'a> {
    /// Whose options they are, for instance "layer `compress`".
    pub(crate) owner: &'a str,
    /// What one of them is called: "option".
    pub(crate) noun: &'static str,
    pub(crate) secrets: &'a Secrets,
}

impl OptionReader<'_> {
    /// Reads `root` as a `T`, or finds everything that keeps it from being one.
    pub(crate) fn read<'de, T: Deserialize<'de>>(self, root: &'de Node) -> Result<T, Vec<Diagnostic>> {
        let mut reading = Reading { root, reader: self, modes: Modes::default(), findings: Vec::new(), probing: Vec::new() };
        loop {
            match T::deserialize(De { node: root, modes: &reading.modes }) {
                Ok(value) => {
                    reading.give_up_probing();
                    return if reading.findings.is_empty() { Ok(value) } else { Err(reading.findings) };
                }
                Err(error) => {
                    let at = error.at.unwrap_or(At::Value(address(root)));
                    if !reading.learn(&error.reason, at) || reading.findings.len() >= MAX_FINDINGS {
                        reading.give_up_probing();
                        return Err(reading.findings);
                    }
                }
            }
        }
    }

    /// A finding of a layer or an app, at the option that it names.
    pub(crate) fn locate(self, id: Id, finding: Finding, options: &Node) -> Diagnostic {
        let node = options.nearest(&finding.path);
        let redact = |text: String| self.secrets.redact(&without_number(&text));
        Diagnostic {
            hint: finding.hint.map(|hint| redact(hint).into()),
            note: finding.note.map(|note| redact(note).into()),
            ..Diagnostic::error(id, redact(finding.message), node.span.clone()).label(match finding.path.as_slice() {
                [] => self.owner.to_owned(),
                path => format!("{} `{}` of {}", self.noun, dotted(path), self.owner),
            })
        }
    }
}

/// A system's message without `(os error 2)`.
fn without_number(text: &str) -> String {
    match text.split_once(" (os error ") {
        Some((before, rest)) => format!("{before}{}", rest.split_once(')').map_or("", |(_, after)| after)),
        None => text.to_owned(),
    }
}

struct Reading<'de, 's> {
    root: &'de Node,
    reader: OptionReader<'s>,
    modes: Modes,
    findings: Vec<Diagnostic>,
    /// Secret values that were refused and not yet reported, and whether their type had been the right one.
    probing: Vec<(Address, bool)>,
}

impl<'de> Reading<'de, '_> {
    /// Notes a mistake and decides how to go on; `false` if there is no way on.
    fn learn(&mut self, reason: &Reason, at: At) -> bool {
        let (At::Key(place) | At::Value(place)) = at;
        let Some((path, node)) = find(self.root, place) else { return false };
        match at {
            At::Key(_) => self.findings.push(self.wrong_key(reason, &path, node)),
            At::Value(_) => {
                if let Some(mode) = self.another_way(reason, node) {
                    self.modes.set(place, mode);
                    return true;
                }
                if !self.is_aftermath(reason, node) {
                    self.findings.push(self.wrong_value(reason, &path, node));
                }
                self.probing.retain(|(probed, _)| *probed != place);
            }
        }
        let again = self.modes.of(place) != Mode::Skip && place != address(self.root);
        self.modes.set(place, Mode::Skip);
        again
    }

    /// A value from outside the file may have to be read as a number. Its own error may show the value, so a probe finds out what was expected.
    fn another_way(&mut self, reason: &Reason, node: &Node) -> Option<Mode> {
        let expanded = node.expanded.as_deref()?;
        let Value::String(text) = &node.value else { return None };
        match self.modes.of(address(node)) {
            Mode::Plain if expanded.whole && is_scalar(text) => Some(Mode::Scalar),
            Mode::Plain | Mode::Scalar if expanded.secret => {
                self.probing.push((address(node), !matches!(reason, Reason::WrongType { .. })));
                Some(Mode::Probe)
            }
            _ => None,
        }
    }

    /// Whether this mistake only follows from children that were left out because of theirs.
    fn is_aftermath(&self, reason: &Reason, node: &Node) -> bool {
        let mut left_out = node.children().filter(|(_, child)| self.modes.of(address(child)) == Mode::Skip).peekable();
        match reason {
            Reason::Missing(field) => left_out.any(|(step, _)| match step {
                Step::Key(key) => key == *field || closest(&key, [*field]).is_some(),
                Step::Index(_) => false,
            }),
            _ => left_out.peek().is_some(),
        }
    }

    /// Reports values that were refused, and whose probe was accepted: the message can only say that they do not fit.
    fn give_up_probing(&mut self) {
        for (place, _) in std::mem::take(&mut self.probing) {
            if let Some((path, node)) = find(self.root, place) {
                let diagnostic = self.wrong_value(&Reason::WrongValue { expected: String::new() }, &path, node);
                self.findings.push(diagnostic);
            }
        }
    }

    fn wrong_key(&self, reason: &Reason, path: &[Step], node: &'de Node) -> Diagnostic {
        let OptionReader { owner: subject, noun, .. } = self.reader;
        let key_span = key_span(self.root, node);
        let (name, outer) = match path.split_last() {
            Some((Step::Key(name), outer)) => (name.as_str(), outer),
            _ => ("", path),
        };
        let owner = if outer.is_empty() { subject.to_owned() } else { format!("`{}` of {subject}", dotted(outer)) };
        match reason {
            Reason::UnknownKey { known, .. } | Reason::UnknownVariant { known, .. } => {
                let plural = if noun == "option" { "Options" } else { "Conditions" };
                Diagnostic::error(Id::UnknownOption, format!("unknown {noun} `{name}` for {owner}"), key_span)
                    .label(format!(
                        "not {} of {}",
                        if noun == "option" { "an option".to_owned() } else { format!("a {noun}") },
                        short(&owner)
                    ))
                    .hint(match name {
                        "as" if outer.is_empty() && noun == "option" => {
                            "`as` belongs beside the options: `{ \"NAME\": { ... }, \"as\": \"...\" }`".to_owned()
                        }
                        "as" if outer.is_empty() => format!("`as` belongs beside {subject}"),
                        _ => synonyms::of_option(&owner, name, known).unwrap_or_else(|| suggestion(name, plural, known.iter().copied())),
                    })
            }
            Reason::Other(message) => self.told(message, key_span).label(format!("a key in {owner}")),
            _ => Diagnostic::error(Id::UnknownOption, format!("the key `{name}` is not allowed in {owner}"), key_span),
        }
    }

    fn wrong_value(&self, reason: &Reason, path: &[Step], node: &Node) -> Diagnostic {
        let OptionReader { owner: subject, noun, .. } = self.reader;
        let what = if path.is_empty() { subject.to_owned() } else { format!("`{}` of {subject}", dotted(path)) };
        let place = if path.is_empty() { subject.to_owned() } else { format!("{noun} {what}") };
        let span = node.span.clone();
        if let Some(source) = node.secret() {
            // "Not a string" would be no help, and wrong, where it is a string and was refused for what it says.
            let right_type = self.probing.contains(&(address(node), true));
            let expected = match reason {
                Reason::WrongType { expected, .. } if !right_type || !is_basic(expected) => expected.as_str(),
                _ => "allowed here",
            };
            return Diagnostic::error(Id::InvalidValue, format!("the value of `{source}` is not {expected}"), span).label(place);
        }
        match reason {
            Reason::WrongType { expected, .. } if path.is_empty() && expected == "an object" => {
                Diagnostic::error(Id::WrongType, format!("{subject} takes an object of {noun}s"), span)
                    .label(format!("this is {}", node.kind()))
            }
            Reason::WrongType { expected, found } => {
                let found =
                    if self.modes.of(address(node)) == Mode::Plain && *found != "a number with a fraction" { node.kind() } else { found };
                Diagnostic::error(Id::WrongType, format!("{what} must be {expected}"), span).label(format!("this is {found}"))
            }
            Reason::WrongValue { expected } => {
                let label =
                    if matches!(node.value, Value::Number(_)) { "out of range".to_owned() } else { format!("this is {}", node.kind()) };
                Diagnostic::error(Id::InvalidValue, format!("{what} must be {expected}"), span).label(label)
            }
            Reason::UnknownVariant { name, known } => {
                Diagnostic::error(Id::InvalidValue, format!("unknown value `{name}` for {what}"), span)
                    .label(format!("not a value of `{}`", last_key(path).unwrap_or(subject)))
                    .hint(suggestion(name, "Values", known.iter().copied()))
            }
            Reason::Missing(field) => {
                let field = if path.is_empty() { format!("`{field}`") } else { format!("`{}.{field}`", dotted(path)) };
                Diagnostic::error(Id::MissingOption, format!("{noun} {field} of {subject} is missing"), span)
                    .label(format!("{field} is needed here"))
            }
            Reason::UnknownKey { name, known } => Diagnostic::error(Id::UnknownOption, format!("unknown {noun} `{name}` for {what}"), span)
                .hint(format!("{noun}s are {}", list(known.iter().copied()))),
            Reason::Other(message) => self.told(message, span).label(place),
        }
    }

    /// A message of the type's own, which may end in its hint.
    fn told(&self, message: &str, span: Span) -> Diagnostic {
        let message = self.reader.secrets.redact(message);
        match message.split_once("\nhint: ") {
            Some((message, hint)) => Diagnostic::error(Id::InvalidValue, message, span).hint(hint),
            None => Diagnostic::error(Id::InvalidValue, message, span),
        }
    }
}

/// Whether this names a type, without a condition on its values.
fn is_basic(expected: &str) -> bool {
    expected == "a string" || expected.starts_with("a number") || expected.starts_with("a whole number")
}

/// "layer `compress`" within a label, where the layer is already named.
fn short(owner: &str) -> &str {
    owner.split(' ').find(|word| word.starts_with('`')).unwrap_or(owner)
}

fn last_key(path: &[Step]) -> Option<&str> {
    path.iter().rev().find_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Index(_) => None,
    })
}

/// The node with this identity below `root`, and the way to it.
fn find(root: &Node, wanted: Address) -> Option<(Vec<Step>, &Node)> {
    if address(root) == wanted {
        return Some((Vec::new(), root));
    }
    root.children().find_map(|(step, child)| {
        let (mut path, node) = find(child, wanted)?;
        path.insert(0, step);
        Some((path, node))
    })
}

/// The span of the key of `node`.
fn key_span(root: &Node, node: &Node) -> Span {
    fn search(at: &Node, wanted: Address) -> Option<Span> {
        if let Value::Object(entries) = &at.value
            && let Some(entry) = entries.iter().find(|entry| address(&entry.value) == wanted)
        {
            return Some(entry.key_span.clone());
        }
        at.children().find_map(|(_, child)| search(child, wanted))
    }
    search(root, address(node)).unwrap_or_else(|| node.span.clone())
}
