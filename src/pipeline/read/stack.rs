//! Stacks: layers over an app.
//!
//! A stack is read from the app upwards, which is how [places](super::places) are counted.

use ziggurat_middleware::{Context, Lifecycle, Place};

use super::grammar::{Grammar, ROUTES, all, take};
use super::places::Scope;
use super::suggest;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{App, AppId, Composite, Part, Routes, Stack};
use crate::pipeline::registry::{Kind, Role};
use crate::pipeline::tree::{Entry, Node, Span, Value};

impl Grammar<'_> {
    /// The `layers` and the `app` among these keys.
    pub(super) fn stack(&mut self, mut keys: Vec<Entry>, span: &Span, scope: &Scope, owner: &str) -> Option<Stack> {
        let layers = take(&mut keys, "layers");
        let allow = take(&mut keys, "allow").map_or_else(|| Some(Vec::new()), |node| self.allow(node, span));
        let app = match take(&mut keys, "app") {
            Some(node) => self.app(node, scope),
            None => {
                self.findings.push(
                    Diagnostic::error(Id::MissingApp, format!("{owner} has no `app`"), span.clone())
                        .label("an `app` is needed here")
                        .hint("what is below the layers, for instance `\"app\": { \"wsgi\": \"hello:app\" }`"),
                );
                None
            }
        };
        let layers = layers.map_or_else(|| Some(Vec::new()), |node| self.layers(node, scope));
        Some(Stack { layers: layers?, app: app?, allow: allow? })
    }

    pub(super) fn layers(&mut self, node: Node, scope: &Scope) -> Option<Vec<Part>> {
        let Value::Array(items) = node.value else {
            let found = node.kind();
            self.findings.push(
                Diagnostic::error(Id::WrongType, "`layers` is a list, outermost layer first", node.span)
                    .label(format!("this is {found}"))
                    .hint("write `\"layers\": [\"request_id\", { \"compress\": { \"level\": 6 } }]`"),
            );
            return None;
        };
        let mut layers = all(items.into_iter().rev().map(|item| self.layer(item, scope)).collect())?;
        layers.reverse();
        Some(layers)
    }

    fn layer(&mut self, node: Node, scope: &Scope) -> Option<Part> {
        let (kind, options, name) = match node.value {
            Value::String(_) => (self.kind(Role::Layer, &node)?, Node::empty_object(node.span), None),
            Value::Object(mut entries) => {
                let name = self.name(&mut entries);
                let entry = self.single(Role::Layer, entries, node.span)?;
                let kind = self.kind(Role::Layer, &Node::new(entry.key_span, Value::String(entry.key)))?;
                let options = kind.without_shorthand(entry.value);
                (kind, options, name)
            }
            _ => {
                let found = node.kind();
                self.findings.push(
                    Diagnostic::error(Id::WrongType, "a layer is a name, or an object with its name as the only key", node.span)
                        .label(format!("this is {found}"))
                        .hint("write `\"compress\"` or `{ \"compress\": { \"level\": 6 } }`"),
                );
                return None;
            }
        };
        let (place, is_named) = match name {
            Some(name) => (Place::new(name), true),
            None => (self.places.layer(scope, kind.name), false),
        };
        self.part(Part { kind, options, place, is_named })
    }

    pub(super) fn app(&mut self, node: Node, scope: &Scope) -> Option<App> {
        match node.value {
            Value::String(_) => self.reference(&node).map(|id| App::Named(id, node.span)),
            Value::Object(mut entries) => {
                let name = self.name(&mut entries);
                let entry = self.single(Role::App, entries, node.span)?;
                if entry.key == ROUTES {
                    let (place, is_named) = self.place_of_app(name, scope, ROUTES, false);
                    let routes = self.routes(entry.value, scope);
                    return routes.map(|routes| App::Routes(Routes { routes, place, is_named, composite: None }));
                }
                let kind = self.kind(Role::App, &Node::new(entry.key_span, Value::String(entry.key)))?;
                let options = kind.without_shorthand(entry.value);
                let (place, is_named) = self.place_of_app(name, scope, kind.name, kind.is_python());
                let part = self.part(Part { kind, options, place, is_named })?;
                self.composed(part)
            }
            _ => {
                let found = node.kind();
                self.findings.push(
                    Diagnostic::error(
                        Id::WrongType,
                        "an app is the name of an entry in `apps`, or an object with its kind as the only key",
                        node.span,
                    )
                    .label(format!("this is {found}"))
                    .hint("write `{ \"wsgi\": \"hello:app\" }`"),
                );
                None
            }
        }
    }

    fn place_of_app(&mut self, name: Option<String>, scope: &Scope, kind: &str, is_python: bool) -> (Place, bool) {
        name.map_or_else(|| self.places.app(scope, kind, is_python), |name| (Place::new(name), true))
    }

    /// The app itself, or the routes that a composite app stands for.
    fn composed(&mut self, part: Part) -> Option<App> {
        let mut host = self.registry.host().clone();
        host.insert(self.identity.clone());
        let lifecycle = Lifecycle::hosted(host);
        let context = Context::new(&part.place, self.base, lifecycle);
        let Some(routes) = part.kind.compose(&part.options, self.secrets, &context) else { return Some(App::Part(part)) };
        let routes = self.note(routes)?;
        let scope = Scope::of_composite(&part.place, part.is_named);
        let routes = self.routes(routes, &scope)?;
        let (place, is_named) = self.places.app(&scope, ROUTES, false);
        let composite = Some(Composite { name: part.kind.name, options: part.options });
        Some(App::Routes(Routes { routes, place, is_named, composite }))
    }

    /// The entry of `apps` that a string names.
    fn reference(&mut self, node: &Node) -> Option<AppId> {
        let Value::String(name) = &node.value else { return None };
        let found = self.names.iter().position(|known| known == name);
        if found.is_none() {
            self.findings.push(suggest::unknown_app(name, node, &self.names, self.registry));
        }
        found.map(AppId)
    }

    /// The registered layer or app that a string names.
    fn kind(&mut self, role: Role, node: &Node) -> Option<Kind> {
        let Value::String(name) = &node.value else { return None };
        let found = self.registry.find(role, name);
        if found.is_none() {
            self.findings.push(suggest::unknown_kind(role, name, node, self.registry));
        }
        found
    }

    /// The part, where its options are sound.
    fn part(&mut self, part: Part) -> Option<Part> {
        let findings = part.kind.check(&part.options, self.secrets);
        let sound = findings.is_empty();
        self.findings.extend(findings);
        sound.then_some(part)
    }

    /// The only entry of an object that names a layer or an app.
    fn single(&mut self, role: Role, entries: Vec<Entry>, span: Span) -> Option<Entry> {
        self.note(suggest::single(role, entries, span, self.registry).map_err(|finding| vec![finding]))
    }
}
