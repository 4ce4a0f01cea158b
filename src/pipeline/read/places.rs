//! The places of layers and apps: their identities in the log, in metrics and in kept state.
//!
//! A place consists of kinds and names and never of positions. Places are assigned from the bottom of a stack upwards, so that a layer inserted above
//! renames nothing below it.

use std::collections::{HashMap, HashSet};

use ziggurat_middleware::Place;

use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::tree::{Node, Span, Value};

/// The key by which the file names a layer, an app or a route.
pub(in crate::pipeline) const NAME: &str = "as";

/// The places of one file that are taken.
#[derive(Default)]
pub(super) struct Places {
    /// How many parts have this place without its number.
    counts: HashMap<String, usize>,
    taken: HashSet<String>,
    /// The names that the file gives, and where.
    names: HashMap<String, Span>,
}

/// The part of the file that a stack belongs to.
#[derive(Clone, Default)]
pub(super) struct Scope {
    /// What places in here begin with: nothing, `main/`, `blog/`.
    prefix: String,
    /// The place of the app at the bottom, if it is not its kind.
    app: Option<Place>,
    /// The place of the composite app that everything in here belongs to, and whether the file named it. Its WSGI app has the same.
    composite: Option<(Place, bool)>,
}

impl Scope {
    /// In the entry of `apps` with this name.
    pub(super) fn of_entry(name: &str) -> Self {
        Self { prefix: format!("{name}/"), app: Some(Place::new(name)), composite: None }
    }

    /// In the routes of the composite app at this place.
    pub(super) fn of_composite(place: &Place, is_named: bool) -> Self {
        Self { prefix: format!("{place}/"), app: None, composite: Some((place.clone(), is_named)) }
    }

    /// In a route with this label. The routes of a composite app are not in the file, and add nothing.
    pub(super) fn route(&self, label: &str) -> Self {
        match self.composite {
            Some(_) => Self { app: None, ..self.clone() },
            None => Self { prefix: format!("{}{label}/", self.prefix), app: None, composite: None },
        }
    }

    /// In a route with this name.
    pub(super) fn of_route(name: &str) -> Self {
        Self { prefix: format!("{name}/"), app: None, composite: None }
    }
}

impl Places {
    /// For the file with this tree. The names that it gives are taken from the start.
    pub(super) fn new(root: &Node) -> Self {
        let mut places = Self::default();
        places.keep_names_free(root);
        places
    }

    fn keep_names_free(&mut self, node: &Node) {
        if let Value::Object(entries) = &node.value
            && let Some(Value::String(name)) = entries.iter().find(|entry| entry.key == NAME).map(|entry| &entry.value.value)
        {
            self.taken.insert(name.clone());
        }
        node.children().for_each(|(_, child)| self.keep_names_free(child));
    }

    /// Takes the key of an entry of `apps`.
    pub(super) fn entry(&mut self, name: &str, span: &Span) {
        self.taken.insert(name.to_owned());
        self.names.insert(name.to_owned(), span.clone());
    }

    /// A name that the file gives.
    pub(super) fn name(&mut self, node: &Node) -> Result<String, Diagnostic> {
        let error = |message: String| Diagnostic::error(Id::InvalidName, message, node.span.clone());
        let Value::String(name) = &node.value else {
            return Err(error(format!("`{NAME}` must be a name")).label(format!("this is {}", node.kind())));
        };
        if let Some(source) = node.secret() {
            return Err(error(format!("`{NAME}` cannot come from `{source}`")).hint("the log shows it: write the name itself"));
        }
        let is_sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || !name.chars().all(is_sound) {
            let message = if name.is_empty() { "the name is empty".to_owned() } else { format!("`{}` is not a name", name.escape_debug()) };
            return Err(error(message).hint("use letters, digits, `_`, `.` and `-`"));
        }
        match self.names.get(name) {
            Some(other) => {
                let (first, second) = if other.start <= node.span.start { (other, &node.span) } else { (&node.span, other) };
                Err(Diagnostic::error(Id::DuplicateName, format!("the name `{name}` is given twice"), second.clone())
                    .label("the second one")
                    .related(first.clone(), "the first one")
                    .hint("logs and metrics know parts by their names: choose another one"))
            }
            None => {
                self.names.insert(name.clone(), node.span.clone());
                Ok(name.clone())
            }
        }
    }

    /// The place of a layer.
    pub(super) fn layer(&mut self, scope: &Scope, kind: &str) -> Place {
        self.free(format!("{}{kind}", scope.prefix))
    }

    /// The place of the app at the bottom of a stack, and whether the file named it.
    pub(super) fn app(&mut self, scope: &Scope, kind: &str, is_python: bool) -> (Place, bool) {
        match (&scope.app, &scope.composite) {
            (Some(entry), _) => (entry.clone(), false),
            (None, Some(composite)) if is_python => composite.clone(),
            _ => (self.free(format!("{}{kind}", scope.prefix)), false),
        }
    }

    fn free(&mut self, base: String) -> Place {
        let count = self.counts.entry(base.clone()).or_default();
        loop {
            *count += 1;
            let place = numbered(&base, *count);
            if self.taken.insert(place.clone()) {
                return Place::new(place);
            }
        }
    }
}

/// Numbers the routes of one table that have the same label, from the bottom.
#[derive(Default)]
pub(super) struct Siblings(HashMap<String, usize>);

impl Siblings {
    pub(super) fn label(&mut self, condition: Option<&Node>, mount: Option<&Node>) -> String {
        let label = label(condition, mount);
        let count = self.0.entry(label.clone()).or_default();
        *count += 1;
        numbered(&label, *count)
    }
}

fn numbered(base: &str, count: usize) -> String {
    if count == 1 { base.to_owned() } else { format!("{base}#{count}") }
}

/// A label for the condition of a route: its mount, path, or the first of its other keys. Values from `${...}` are not shown.
fn label(condition: Option<&Node>, mount: Option<&Node>) -> String {
    let part = |key: &str| condition.and_then(|node| node.children().find(|(step, _)| *step == key.into())).map(|(_, node)| node);
    let key = |node: &Node| match &node.value {
        Value::Object(entries) => entries.first().map(|entry| entry.key.clone()),
        _ => None,
    };
    let path = |node: &Node| match first_text(node)? {
        "/" => Some("root".to_owned()),
        path => Some(path.strip_suffix("/*").unwrap_or(path).trim_matches('/').to_owned()),
    };
    let label = mount
        .and_then(path)
        .or_else(|| part("path").and_then(path).filter(|path| !path.is_empty()))
        .or_else(|| part("host").and_then(first_text).map(str::to_owned))
        .or_else(|| part("method").and_then(first_text).map(str::to_lowercase))
        .or_else(|| part("header").and_then(key))
        .or_else(|| part("cookie").and_then(key))
        .or_else(|| part("query").and_then(key))
        .or_else(|| part("scheme").and_then(first_text).map(str::to_owned))
        .or_else(|| part("client").and_then(first_text).map(str::to_owned))
        .or_else(|| part("path").filter(|path| path.is_object()).map(|_| "regex".to_owned()))
        .or_else(|| part("not").map(|not| format!("not-{}", label(Some(not), None))))
        .filter(|label| !label.is_empty());
    let plain = |c: char| if c.is_whitespace() || c.is_control() || matches!(c, '#' | '"' | '\\') { '-' } else { c };
    label.map_or_else(|| "default".to_owned(), |label| label.chars().map(plain).collect())
}

/// A string, or the first one of a list.
fn first_text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::String(text) => node.secret().is_none().then_some(text),
        Value::Array(items) => items.first().and_then(first_text),
        _ => None,
    }
}
