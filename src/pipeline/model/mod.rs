//! A pipeline file as it was understood: stacks of layers over apps, every name resolved and every option of its type. Data only.
//!
//! > A pipeline is a stack. A stack is a list of layers over an app. A route is a stack with a condition.
//!
//! The reader makes it; checks, printers and builders [walk](Stack::walk) over it. `K` is how a kind is known: by its [`Kind`] in this process,
//! by its name on the way to another one.

mod below;
mod packed;
mod walk;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Index;

use serde::{Deserialize, Serialize};
use ziggurat_middleware::Place;
use ziggurat_middleware::units::Duration;

pub(crate) use below::Below;
pub(crate) use walk::{Branch, Event, Position};

use super::file_tests::FileTest;
use super::registry::Kind;
use super::tree::{Node, Span};
use crate::apps::matching::{Condition, Match, Prefix};
use crate::server::{Listen, Options};
use crate::tls::TlsOptions;

/// A whole file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) listen: Vec<ListenEntry>,
    pub(crate) server: Typed<Options>,
    pub(crate) apps: Apps,
    pub(crate) stack: Stack,
    pub(crate) tests: Vec<Typed<FileTest>>,
}

/// An entry of `listen`.
#[derive(Debug)]
pub(crate) struct ListenEntry {
    /// In clear text: what `tls` says is added when its files are read.
    pub(crate) listen: Listen,
    /// Where the address is written.
    pub(crate) span: Span,
    pub(crate) tls: Option<Typed<TlsOptions>>,
}

/// The entries of `apps`, in file order. A part of them has the same ids as the whole.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Apps<K = Kind>(pub(crate) BTreeMap<AppId, NamedApp<K>>);

/// The number of an entry of `apps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct AppId(pub(crate) usize);

/// An entry of `apps`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NamedApp<K = Kind> {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) stack: Stack<K>,
}

/// Layers, outermost first, over an app.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stack<K = Kind> {
    pub(crate) layers: Vec<Part<K>>,
    pub(crate) app: App<K>,
    /// The lints that the file allows here. They are known to the process that checks the file.
    #[serde(skip)]
    pub(crate) allow: Vec<Allow>,
}

/// An order lint that a stack allows.
#[derive(Clone, Debug)]
pub(crate) struct Allow {
    pub(crate) lint: String,
    /// The entry.
    pub(crate) node: Node,
    /// The object that it is written in: findings about anything there are allowed.
    pub(crate) scope: Span,
}

/// A layer, or an app of a registered kind, with its options.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part<K = Kind> {
    pub(crate) kind: K,
    pub(crate) options: Node,
    #[serde(deserialize_with = "packed::place")]
    pub(crate) place: Place,
    /// Whether the place is a name that the file gives.
    pub(crate) is_named: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum App<K = Kind> {
    Part(Part<K>),
    /// The entry of `apps` with this number, named here.
    Named(AppId, Span),
    Routes(Routes<K>),
}

/// A table of routes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Routes<K = Kind> {
    pub(crate) routes: Vec<Route<K>>,
    #[serde(deserialize_with = "packed::place")]
    pub(crate) place: Place,
    pub(crate) is_named: bool,
    /// The composite app that these routes were composed from.
    #[serde(skip)]
    pub(crate) composite: Option<Composite>,
}

/// An app that is composed of others, such as `django`.
#[derive(Clone, Debug)]
pub(crate) struct Composite {
    pub(crate) name: &'static str,
    pub(crate) options: Node,
}

/// A stack with a condition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Route<K = Kind> {
    /// The condition, or the whole route where it has none.
    pub(crate) span: Span,
    /// The name that the file gives.
    pub(crate) name: Option<String>,
    /// Whether it takes requests; on by default.
    pub(crate) enabled: Option<Typed<bool>>,
    pub(crate) condition: Option<Typed<Match>>,
    pub(crate) mount: Option<Typed<Prefix>>,
    /// How long the app below may take until it begins its answer. It has no effect in a worker, so it does not travel there.
    #[serde(skip)]
    pub(crate) deadline: Option<Typed<Duration>>,
    /// How many threads of each `wsgi` app below are kept for requests that come this way. It does not travel either.
    #[serde(skip)]
    pub(crate) reserve: Option<Typed<NonZeroUsize>>,
    pub(crate) stack: Stack<K>,
}

/// A value, and the text that it was read from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Typed<T> {
    pub(crate) value: T,
    pub(crate) node: Node,
}

impl<K> Route<K> {
    /// Whether it takes requests.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.as_ref().is_none_or(|enabled| enabled.value)
    }

    /// What it asks of a request.
    pub(crate) fn asked(&self) -> Condition<'_> {
        Condition::new(self.condition.as_ref().map(|condition| &condition.value), self.mount.as_ref().map(|mount| &mount.value))
    }
}

impl File {
    /// Every stack that the file begins: those of `apps`, then its own.
    pub(crate) fn stacks(&self) -> impl Iterator<Item = &Stack> {
        self.apps.0.values().map(|app| &app.stack).chain([&self.stack])
    }
}

impl Stack {
    /// The index of the outermost Python layer: from there down, the stack runs in worker processes.
    pub(crate) fn first_python_layer(&self) -> Option<usize> {
        self.layers.iter().position(|layer| layer.kind.is_python())
    }
}

impl Apps {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (AppId, &NamedApp)> {
        self.0.iter().map(|(id, app)| (*id, app))
    }
}

/// An id comes from the file that has the entry, or from a part that was cut out with all that it names.
impl Index<AppId> for Apps {
    type Output = NamedApp;

    fn index(&self, id: AppId) -> &NamedApp {
        &self.0[&id]
    }
}
