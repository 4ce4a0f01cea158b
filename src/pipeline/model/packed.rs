//! Kinds by their names, for the way to another process of this program, and back.

use serde::{Deserialize, Deserializer};
use ziggurat_middleware::Place;

use super::{App, Apps, NamedApp, Part, Route, Routes, Stack};
use crate::pipeline::registry::{Kind, Registry, Role};

impl Stack {
    pub(crate) fn packed(self) -> Stack<String> {
        let Ok(stack) = self.with_kinds(&|_, kind: Kind| Ok::<_, std::convert::Infallible>(kind.name.to_owned()));
        stack
    }
}

impl Stack<String> {
    /// This stack with the kinds of this process; the error names one that it does not have.
    pub(crate) fn unpacked(self, registry: &Registry) -> Result<Stack, String> {
        self.with_kinds(&|role, name: String| registry.find(role, &name).ok_or_else(|| format!("{} `{name}`", role.noun())))
    }
}

impl Apps {
    pub(crate) fn packed(self) -> Apps<String> {
        Apps(
            self.0
                .into_iter()
                .map(|(id, app)| (id, NamedApp { name: app.name, name_span: app.name_span, stack: app.stack.packed() }))
                .collect(),
        )
    }
}

impl Apps<String> {
    /// As [`Stack::unpacked`].
    pub(crate) fn unpacked(self, registry: &Registry) -> Result<Apps, String> {
        let unpack =
            |app: NamedApp<String>| app.stack.unpacked(registry).map(|stack| NamedApp { name: app.name, name_span: app.name_span, stack });
        self.0.into_iter().map(|(id, app)| unpack(app).map(|app| (id, app))).collect::<Result<_, _>>().map(Apps)
    }
}

impl<K> Stack<K> {
    fn with_kinds<L, E>(self, kind: &impl Fn(Role, K) -> Result<L, E>) -> Result<Stack<L>, E> {
        let layers = self.layers.into_iter().map(|layer| layer.with_kind(Role::Layer, kind)).collect::<Result<_, E>>()?;
        let app = match self.app {
            App::Part(app) => App::Part(app.with_kind(Role::App, kind)?),
            App::Named(id, span) => App::Named(id, span),
            App::Routes(Routes { routes, place, is_named, composite }) => {
                let routes = routes.into_iter().map(|route| route.with_kinds(kind)).collect::<Result<_, E>>()?;
                App::Routes(Routes { routes, place, is_named, composite })
            }
        };
        Ok(Stack { layers, app, allow: self.allow })
    }
}

impl<K> Route<K> {
    fn with_kinds<L, E>(self, kind: &impl Fn(Role, K) -> Result<L, E>) -> Result<Route<L>, E> {
        let Self { span, name, enabled, condition, mount, deadline, reserve, stack } = self;
        Ok(Route { span, name, enabled, condition, mount, deadline, reserve, stack: stack.with_kinds(kind)? })
    }
}

impl<K> Part<K> {
    fn with_kind<L, E>(self, role: Role, kind: &impl Fn(Role, K) -> Result<L, E>) -> Result<Part<L>, E> {
        let Self { kind: known, options, place, is_named } = self;
        Ok(Part { kind: kind(role, known)?, options, place, is_named })
    }
}

/// A place as it travels: its name.
pub(super) fn place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Place, D::Error> {
    String::deserialize(deserializer).map(Place::new)
}
