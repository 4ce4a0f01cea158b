//! The keys of a pipeline file, and the entries of `apps`.

use std::path::Path;

use ziggurat_middleware::Findings;

use super::places::{NAME, Places, Scope};
use super::suggest;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{AppId, Apps, File, NamedApp, Part, Stack, Typed};
use crate::pipeline::options::OptionReader;
use crate::pipeline::registry::Registry;
use crate::pipeline::secrets::Secrets;
use crate::pipeline::tree::{Entry, Node, Span, Value};
use crate::server::Options;
use crate::worker::identity::ServerIdentity;

pub(crate) const ROUTES: &str = "routes";

pub(super) const STACK_KEYS: [&str; 3] = ["layers", "allow", "app"];

/// Makes sense of a tree of values.
pub(super) struct Grammar<'a> {
    pub(super) registry: &'a Registry,
    pub(super) secrets: &'a Secrets,
    /// The folder that relative paths start from.
    pub(super) base: &'a Path,
    /// The keys of `apps`.
    pub(super) names: Vec<String>,
    pub(super) places: Places,
    /// As whom the server runs code of others.
    pub(super) identity: ServerIdentity,
    pub(super) findings: Vec<Diagnostic>,
}

impl<'a> Grammar<'a> {
    pub(super) fn new(root: &Node, registry: &'a Registry, secrets: &'a Secrets, base: &'a Path) -> Self {
        Self {
            registry,
            secrets,
            base,
            names: Vec::new(),
            places: Places::new(root),
            identity: ServerIdentity::default(),
            findings: Vec::new(),
        }
    }

    /// What was read, where nothing was found.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, Vec<Diagnostic>> {
        read.filter(|_| self.findings.is_empty()).ok_or(self.findings)
    }

    pub(super) fn file(&mut self, root: Node) -> Option<File> {
        let (span, mut keys) =
            self.object(root, "a pipeline is an object", "the smallest one is `{ \"app\": { \"wsgi\": \"hello:app\" } }`")?;
        self.known_keys(&keys, &["$schema", "listen", "server", "layers", "allow", "app", "apps", "tests"], "the pipeline");
        if let Some(schema) = take(&mut keys, "$schema") {
            self.string(&schema, "`$schema` is the address of a schema");
        }
        let listen = take(&mut keys, "listen").map_or_else(|| Some(Vec::new()), |node| self.listen(node));
        let server = take(&mut keys, "server").unwrap_or_else(|| Node::empty_object(0..0));
        let server = self.server(server);
        if let Some(Typed { value, .. }) = &server {
            self.identity = ServerIdentity { user: value.user.clone(), group: value.group.clone() };
        }
        let apps = take(&mut keys, "apps").map_or_else(|| Some(Vec::new()), |node| self.apps(node));
        let tests = take(&mut keys, "tests").map_or_else(|| Some(Vec::new()), |node| self.file_tests(node));
        let stack = self.stack(keys, &span, &Scope::default(), "the pipeline");
        let apps = apps?.into_iter().enumerate().map(|(number, app)| (AppId(number), app)).collect();
        Some(File { listen: listen?, server: server?, apps: Apps(apps), stack: stack?, tests: tests? })
    }

    pub(super) fn layers_alone(&mut self, root: Node) -> Option<Vec<Part>> {
        self.layers(root, &Scope::default())
    }

    fn server(&mut self, node: Node) -> Option<Typed<Options>> {
        let reader = self.reader("`server`");
        let options: Options = self.note(reader.read(&node))?;
        let mut findings = Findings::default();
        options.validate(&mut findings);
        self.findings.extend(findings.into_iter().map(|finding| reader.locate(Id::InvalidValue, finding, &node)));
        Some(Typed { value: options, node })
    }

    fn apps(&mut self, node: Node) -> Option<Vec<NamedApp>> {
        let (_, entries) = self.object(
            node,
            "`apps` is an object: a name and an app for each entry",
            "write `\"apps\": { \"shop\": { \"wsgi\": \"shop:app\" } }`",
        )?;
        for entry in &entries {
            self.names.push(entry.key.clone());
            self.places.entry(&entry.key, &entry.key_span);
        }
        all(entries.into_iter().map(|entry| self.named(entry)).collect())
    }

    fn named(&mut self, entry: Entry) -> Option<NamedApp> {
        let Entry { key: name, key_span: name_span, value } = entry;
        let sound = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !sound {
            let message = if name.is_empty() { "an app needs a name".to_owned() } else { format!("`{name}` is not a name for an app") };
            self.findings.push(Diagnostic::error(Id::InvalidName, message, name_span.clone()).hint("use letters, digits, `_` and `-`"));
        }
        let scope = Scope::of_entry(&name);
        let is_stack = matches!(&value.value, Value::Object(keys) if keys.iter().any(|entry| STACK_KEYS.contains(&entry.key.as_str())));
        let stack = if is_stack {
            let (span, keys) = self.object(value, "", "")?;
            let owner = format!("the app `{name}`");
            self.known_keys(&keys, &STACK_KEYS, &owner);
            self.stack(keys, &span, &scope, &owner)
        } else {
            self.app(value, &scope).map(|app| Stack { layers: Vec::new(), app, allow: Vec::new() })
        };
        stack.filter(|_| sound).map(|stack| NamedApp { name, name_span, stack })
    }

    /// The name that `as` gives to what has these keys.
    pub(super) fn name(&mut self, keys: &mut Vec<Entry>) -> Option<String> {
        let node = take(keys, NAME)?;
        let name = self.places.name(&node);
        self.note(name.map_err(|finding| vec![finding]))
    }

    pub(super) const fn reader(&self, owner: &'a str) -> OptionReader<'a> {
        OptionReader { owner, noun: "option", secrets: self.secrets }
    }

    pub(super) fn note<T>(&mut self, result: Result<T, Vec<Diagnostic>>) -> Option<T> {
        result.map_err(|findings| self.findings.extend(findings)).ok()
    }

    pub(super) fn object(&mut self, node: Node, message: &str, hint: &str) -> Option<(Span, Vec<Entry>)> {
        let found = node.kind();
        match node.value {
            Value::Object(entries) => Some((node.span, entries)),
            _ => {
                self.findings.push(Diagnostic::error(Id::WrongType, message, node.span).label(format!("this is {found}")).hint(hint));
                None
            }
        }
    }

    fn string(&mut self, node: &Node, message: &str) {
        if !matches!(node.value, Value::String(_)) {
            self.findings.push(Diagnostic::error(Id::WrongType, message, node.span.clone()).label(format!("this is {}", node.kind())));
        }
    }

    pub(super) fn known_keys(&mut self, entries: &[Entry], known: &[&str], owner: &str) {
        let unknown = entries.iter().filter(|entry| !known.contains(&entry.key.as_str()));
        self.findings.extend(unknown.map(|entry| suggest::unknown_key(entry, known, owner, self.registry)));
    }
}

pub(super) fn take(entries: &mut Vec<Entry>, key: &str) -> Option<Node> {
    let at = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(at).value)
}

/// All of them, or none if one is missing. (Collecting options would stop at the first, and with it the search for mistakes.)
pub(super) fn all<T>(items: Vec<Option<T>>) -> Option<Vec<T>> {
    items.into_iter().collect()
}
