//! The shape of a pipeline: stacks of layers over apps, with all names resolved and all options typed.
//!
//! > A pipeline is a stack. A stack is a list of layers over an app. A route is a stack with a condition.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ziggurat_middleware::Findings;

use super::diagnostic::Diagnostic;
use super::expand::Mask;
use super::misnamed;
use super::read::{Subject, locate, read};
use super::registry::{Kind, Registry};
use super::route::Route;
use super::tree::{Entry, Node, Span, Value};
use crate::server::{Listen, Options};

pub(crate) const ROUTES: &str = "routes";

/// A whole file.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) listen: Vec<(Listen, Span)>,
    pub(crate) server: Options,
    pub(crate) apps: Vec<Named>,
    /// The entries of `apps` as they are written.
    pub(crate) written: Vec<Entry>,
    pub(crate) expansions: Expansions,
    pub(crate) stack: Stack,
}

/// An entry of `apps`.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) stack: Stack,
}

/// Layers, outermost first, over an app.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) layers: Vec<Part>,
    pub(crate) app: App,
    /// What the file says from the outermost Python layer down, where there is one: it runs elsewhere.
    pub(crate) island: Option<Written>,
}

/// The lower part of a stack as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    /// What the places in it begin with, for instance `app.routes[0].`.
    pub(super) prefix: String,
    /// The number of the first of these layers in its list.
    pub(crate) first: usize,
    pub(crate) layers: Vec<Node>,
    pub(crate) app: Node,
}

/// A layer, or an app of a registered kind, with its options.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    pub(crate) options: Node,
    /// For instance `layers[2].compress`.
    pub(crate) place: String,
}

#[derive(Debug)]
pub(crate) enum App {
    Part(Part),
    /// The entry of `apps` with this number, named at this place.
    Named(usize, Span),
    Routes {
        place: String,
        routes: Vec<Route>,
        /// The options of the entry that stands for these routes, where they are not written out.
        entry: Option<Box<Node>>,
    },
}

/// Makes sense of a tree of values.
pub(crate) fn understand(root: Node, registry: &Registry, mask: &Mask, base: &Path) -> Result<Tree, Vec<Diagnostic>> {
    let mut grammar = Grammar { registry, mask, base, names: Vec::new(), expansions: Expansions::new(), findings: Vec::new() };
    let tree = grammar.pipeline(root);
    match tree {
        Some(tree) if grammar.findings.is_empty() => Ok(tree),
        _ => Err(grammar.findings),
    }
}

/// Makes sense of the lower part of a stack, and of the entries of `apps` that it may name.
pub(crate) fn understand_part(
    written: Written,
    apps: Vec<Entry>,
    expansions: Expansions,
    registry: &Registry,
    mask: &Mask,
    base: &Path,
) -> Result<(Vec<Named>, Stack), Vec<Diagnostic>> {
    let names = apps.iter().map(|entry| entry.key.clone()).collect();
    let mut grammar = Grammar { registry, mask, base, names, expansions, findings: Vec::new() };
    let named: Option<Vec<Named>> = all(apps.into_iter().map(|entry| grammar.named(entry)).collect());
    let Written { prefix, first, layers, app } = written;
    let layers = grammar.numbered(layers, first, &prefix);
    let app = grammar.app(app, &format!("{prefix}app"));
    match (named, layers, app) {
        (Some(named), Some(layers), Some(app)) if grammar.findings.is_empty() => Ok((named, Stack { layers, app, island: None })),
        _ => Err(grammar.findings),
    }
}

/// Makes sense of a list of layers alone.
pub(crate) fn understand_layers(root: Node, registry: &Registry, mask: &Mask, base: &Path) -> Result<Vec<Part>, Vec<Diagnostic>> {
    let mut grammar = Grammar { registry, mask, base, names: Vec::new(), expansions: Expansions::new(), findings: Vec::new() };
    let layers = grammar.layers(root, "");
    layers.filter(|_| grammar.findings.is_empty()).ok_or(grammar.findings)
}

/// What entries that expand stand for, by where their options begin.
pub(crate) type Expansions = BTreeMap<usize, Node>;

pub(super) struct Grammar<'a> {
    pub(super) registry: &'a Registry,
    pub(super) mask: &'a Mask,
    /// The folder that relative paths start from.
    pub(super) base: &'a Path,
    pub(super) expansions: Expansions,
    /// The keys of `apps`.
    pub(super) names: Vec<String>,
    pub(super) findings: Vec<Diagnostic>,
}

pub(super) const STACK_KEYS: [&str; 2] = ["layers", "app"];

impl<'a> Grammar<'a> {
    fn pipeline(&mut self, root: Node) -> Option<Tree> {
        let (span, mut keys) =
            self.object(root, "a pipeline is an object", "the smallest one is `{ \"app\": { \"wsgi\": \"hello:app\" } }`")?;
        self.known_keys(&keys, &["$schema", "listen", "server", "layers", "app", "apps"], "the pipeline");
        if let Some(schema) = take(&mut keys, "$schema") {
            self.string(&schema, "`$schema` is the address of a schema");
        }
        let listen = take(&mut keys, "listen").map_or_else(|| Some(Vec::new()), |node| self.listen(node));
        let server = take(&mut keys, "server").map_or_else(|| Some(Options::default()), |node| self.server(&node));
        let entries = take(&mut keys, "apps").map_or_else(|| Some(Vec::new()), |node| self.app_entries(node));
        if let Some(entries) = &entries {
            self.names = entries.iter().map(|entry| entry.key.clone()).collect();
        }
        let written = entries.clone().unwrap_or_default();
        let apps: Option<Vec<Named>> = entries.map(|entries| entries.into_iter().map(|entry| self.named(entry)).collect()).and_then(all);
        let stack = self.stack(keys, &span, "", "the pipeline");
        Some(Tree {
            listen: listen?,
            server: server?,
            apps: apps?,
            written,
            expansions: std::mem::take(&mut self.expansions),
            stack: stack?,
        })
    }

    fn listen(&mut self, node: Node) -> Option<Vec<(Listen, Span)>> {
        match node.value {
            Value::Array(items) if items.is_empty() => {
                self.findings.push(
                    Diagnostic::error("the list of addresses is empty", node.span)
                        .label("nothing to listen on")
                        .hint("write an address, or leave `listen` out"),
                );
                None
            }
            Value::Array(items) => all(items.into_iter().map(|item| self.listen_one(item)).collect()),
            _ => self.listen_one(node).map(|one| vec![one]),
        }
    }

    fn listen_one(&mut self, node: Node) -> Option<(Listen, Span)> {
        let subject = self.subject("`listen`");
        if !node.is_object() {
            return self.note(read(&node, subject)).map(|at| (at, node.span));
        }
        let found = self.note(read::<ListenAt>(&node, subject));
        found.map(|found| (found.at, node.nearest(&["at".into()]).span.clone()))
    }

    fn server(&mut self, node: &Node) -> Option<Options> {
        let subject = self.subject("`server`");
        let options: Options = self.note(read(node, subject))?;
        let mut findings = Findings::default();
        options.validate(&mut findings);
        self.findings.extend(findings.into_iter().map(|finding| locate(finding, node, subject)));
        Some(options)
    }

    fn app_entries(&mut self, node: Node) -> Option<Vec<Entry>> {
        self.object(
            node,
            "`apps` is an object: a name and an app for each entry",
            "write `\"apps\": { \"shop\": { \"wsgi\": \"shop:app\" } }`",
        )
        .map(|(_, entries)| entries)
    }

    fn named(&mut self, entry: Entry) -> Option<Named> {
        let Entry { key: name, key_span: name_span, value } = entry;
        let sound = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !sound {
            let message = if name.is_empty() { "an app needs a name".to_owned() } else { format!("`{name}` is no name for an app") };
            self.findings.push(Diagnostic::error(message, name_span.clone()).hint("use letters, digits, `_` and `-`"));
        }
        let prefix = format!("apps.{name}");
        let is_stack = matches!(&value.value, Value::Object(keys) if keys.iter().any(|entry| STACK_KEYS.contains(&entry.key.as_str())));
        let stack = if is_stack {
            let (span, keys) = self.object(value, "", "")?;
            let owner = format!("the app `{name}`");
            self.known_keys(&keys, &STACK_KEYS, &owner);
            self.stack(keys, &span, &format!("{prefix}."), &owner)
        } else {
            self.app(value, &prefix).map(|app| Stack { layers: Vec::new(), app, island: None })
        };
        stack.filter(|_| sound).map(|stack| Named { name, name_span, stack })
    }

    pub(super) const fn subject(&self, name: &'a str) -> Subject<'a> {
        Subject { name, noun: "option", mask: self.mask }
    }

    pub(super) fn note<T>(&mut self, result: Result<T, Vec<Diagnostic>>) -> Option<T> {
        result.map_err(|findings| self.findings.extend(findings)).ok()
    }

    pub(super) fn object(&mut self, node: Node, message: &str, hint: &str) -> Option<(Span, Vec<Entry>)> {
        let found = node.kind();
        match node.value {
            Value::Object(entries) => Some((node.span, entries)),
            _ => {
                self.findings.push(Diagnostic::error(message, node.span).label(format!("this is {found}")).hint(hint));
                None
            }
        }
    }

    fn string(&mut self, node: &Node, message: &str) {
        if !matches!(node.value, Value::String(_)) {
            self.findings.push(Diagnostic::error(message, node.span.clone()).label(format!("this is {}", node.kind())));
        }
    }

    pub(super) fn known_keys(&mut self, entries: &[Entry], known: &[&str], owner: &str) {
        let unknown = entries.iter().filter(|entry| !known.contains(&entry.key.as_str()));
        self.findings.extend(unknown.map(|entry| misnamed::unknown_key(entry, known, owner, self.registry)));
    }
}

/// An address, spelled out.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenAt {
    at: Listen,
}

pub(super) fn take(entries: &mut Vec<Entry>, key: &str) -> Option<Node> {
    let at = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(at).value)
}

/// All of them, or none if one is missing. (Collecting options would stop at the first, and with it the search for mistakes.)
pub(super) fn all<T>(items: Vec<Option<T>>) -> Option<Vec<T>> {
    items.into_iter().collect()
}
