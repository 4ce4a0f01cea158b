//! Stacks as they are written: layers, and what stands at the bottom.

use ziggurat_middleware::{Context, Lifecycle};

use super::diagnostic::Diagnostic;
use super::grammar::{App, Grammar, Part, ROUTES, Stack, Written, all, take};
use super::misnamed;
use super::registry::{Kind, Role};
use super::tree::{Entry, Node, Span, Value};

impl Grammar<'_> {
    /// The `layers` and the `app` among these keys.
    pub(super) fn stack(&mut self, mut keys: Vec<Entry>, span: &Span, prefix: &str, owner: &str) -> Option<Stack> {
        let layers = take(&mut keys, "layers");
        let island = self.island(layers.as_ref(), &keys, prefix);
        let layers = layers.map_or_else(|| Some(Vec::new()), |node| self.layers(node, prefix));
        let app = match take(&mut keys, "app") {
            Some(node) => self.app(node, &format!("{prefix}app")),
            None => {
                self.findings.push(
                    Diagnostic::error(format!("{owner} has no `app`"), span.clone())
                        .label("an `app` is needed here")
                        .hint("what stands below the layers, for instance `\"app\": { \"wsgi\": \"hello:app\" }`"),
                );
                None
            }
        };
        Some(Stack { layers: layers?, app: app?, island })
    }

    /// The part of a stack that begins with a Python layer, as it is written.
    fn island(&self, layers: Option<&Node>, keys: &[Entry], prefix: &str) -> Option<Written> {
        let Some(Node { value: Value::Array(layers), .. }) = layers else { return None };
        let is_python = |layer: &Node| {
            let name = match &layer.value {
                Value::String(name) => name,
                Value::Object(entries) => &entries.first()?.key,
                _ => return None,
            };
            self.registry.find(Role::Layer, name).map(|kind| kind.is_python())
        };
        let first = layers.iter().position(|layer| is_python(layer).unwrap_or(false))?;
        let app = keys.iter().find(|entry| entry.key == "app")?.value.clone();
        Some(Written { prefix: prefix.to_owned(), first, layers: layers[first..].to_vec(), app })
    }

    pub(super) fn layers(&mut self, node: Node, prefix: &str) -> Option<Vec<Part>> {
        let Value::Array(items) = node.value else {
            let found = node.kind();
            self.findings.push(
                Diagnostic::error("`layers` is a list, outermost layer first", node.span)
                    .label(format!("this is {found}"))
                    .hint("write `\"layers\": [\"request_id\", { \"compress\": { \"level\": 6 } }]`"),
            );
            return None;
        };
        self.numbered(items, 0, prefix)
    }

    /// Layers whose numbers in the list begin with `first`.
    pub(super) fn numbered(&mut self, items: Vec<Node>, first: usize, prefix: &str) -> Option<Vec<Part>> {
        all(items.into_iter().zip(first..).map(|(item, nth)| self.layer(item, &format!("{prefix}layers[{nth}]"))).collect())
    }

    fn layer(&mut self, node: Node, place: &str) -> Option<Part> {
        match node.value {
            Value::String(_) => {
                let kind = self.kind(Role::Layer, &node)?;
                self.part(kind, Node::empty_object(node.span), place)
            }
            Value::Object(entries) => {
                let entry = self.single(Role::Layer, entries, node.span)?;
                let name = Node::new(entry.key_span, Value::String(entry.key));
                let kind = self.kind(Role::Layer, &name)?;
                let options = kind.spelled_out(entry.value);
                self.part(kind, options, place)
            }
            _ => {
                let found = node.kind();
                self.findings.push(
                    Diagnostic::error("a layer is a name, or an object with its name as the only key", node.span)
                        .label(format!("this is {found}"))
                        .hint("write `\"compress\"` or `{ \"compress\": { \"level\": 6 } }`"),
                );
                None
            }
        }
    }

    /// An app; `place` is where it stands, for instance `app` or `apps.shop`.
    pub(super) fn app(&mut self, node: Node, place: &str) -> Option<App> {
        match node.value {
            Value::String(_) => self.reference(&node).map(|index| App::Named(index, node.span)),
            Value::Object(entries) => {
                let entry = self.single(Role::App, entries, node.span)?;
                if entry.key == ROUTES {
                    let place = format!("{place}.{ROUTES}");
                    return self.routes(entry.value, &place).map(|routes| App::Routes { place, routes, entry: None });
                }
                let name = Node::new(entry.key_span, Value::String(entry.key));
                let kind = self.kind(Role::App, &name)?;
                let options = kind.spelled_out(entry.value);
                let part = self.part(kind, options, place)?;
                self.expanded(part)
            }
            _ => {
                let found = node.kind();
                self.findings.push(
                    Diagnostic::error("an app is the name of an entry in `apps`, or an object with its kind as the only key", node.span)
                        .label(format!("this is {found}"))
                        .hint("write `{ \"wsgi\": \"hello:app\" }`"),
                );
                None
            }
        }
    }

    /// The app itself, or the routes that it stands for.
    fn expanded(&mut self, part: Part) -> Option<App> {
        // What an entry stands for has its place, so the place alone does not tell.
        if !part.kind.expands() {
            return Some(App::Part(part));
        }
        let lifecycle = Lifecycle::hosted(self.registry.host().clone());
        let context = Context::new(part.place.as_str(), self.base, lifecycle);
        let at = part.options.span.start;
        let known = self.expansions.get(&at).cloned().map(Ok);
        let Some(routes) = known.or_else(|| part.kind.expand(&part.options, self.mask, &context)) else { return Some(App::Part(part)) };
        let routes = self.note(routes)?;
        self.expansions.insert(at, routes.clone());
        let routes = self.routes(routes, &part.place)?;
        Some(App::Routes { place: part.place, routes, entry: Some(Box::new(part.options)) })
    }

    /// The entry of `apps` that a string names.
    fn reference(&mut self, node: &Node) -> Option<usize> {
        let Value::String(name) = &node.value else { return None };
        let found = self.names.iter().position(|known| known == name);
        if found.is_none() {
            self.findings.push(misnamed::unknown_app(name, node, &self.names, self.registry));
        }
        found
    }

    /// The registered layer or app that a string names.
    fn kind(&mut self, role: Role, node: &Node) -> Option<Kind> {
        let Value::String(name) = &node.value else { return None };
        let found = self.registry.find(role, name);
        if found.is_none() {
            self.findings.push(misnamed::unknown_kind(role, name, node, self.registry));
        }
        found
    }

    fn part(&mut self, kind: Kind, options: Node, place: &str) -> Option<Part> {
        let findings = kind.check(&options, self.mask);
        let sound = findings.is_empty();
        self.findings.extend(findings);
        sound.then(|| Part { place: format!("{place}.{}", kind.name), kind, options })
    }

    /// The only entry of an object that names a layer or an app.
    fn single(&mut self, role: Role, entries: Vec<Entry>, span: Span) -> Option<Entry> {
        self.note(misnamed::single(role, entries, span, self.registry).map_err(|finding| vec![finding]))
    }
}
