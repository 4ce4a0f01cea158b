//! Which layers and apps a pipeline may name.

mod kind;

use http::Extensions;
use ziggurat_middleware::{App, Context, Finding, Findings, IntoApp, Middleware, Options};

use super::tree::Node;
pub use kind::Kind;
pub(crate) use kind::Service;

/// The layers and apps that files may name. A program with its own layers adds them to [`crate::builtin`].
#[derive(Clone, Debug, Default)]
pub struct Registry {
    layers: Vec<Kind>,
    apps: Vec<Kind>,
    /// Facts about the program, for composite apps.
    host: Extensions,
}

/// A kind of app that is composed of routes, layers and apps of other kinds, such as `django`. It is composed while the file is read, before anything is
/// built. It holds at most one WSGI app.
pub(crate) trait Composite: Options {
    const NAME: &'static str;
    const SHORTHAND: Option<&'static str>;

    /// Reports mistakes that no type can express.
    fn validate(&self, findings: &mut Findings);

    /// The list of routes that these options mean, as a file would write it.
    fn compose(self, options: &Node, context: &Context) -> Result<Node, Finding>;
}

impl Registry {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer. It replaces one with the same name.
    #[must_use]
    pub fn layer<M: Middleware>(mut self) -> Self {
        put(&mut self.layers, Kind::layer::<M>());
        self
    }

    /// Adds a kind of app. It replaces one with the same name.
    #[must_use]
    pub fn app<A: App>(mut self) -> Self {
        put(&mut self.apps, Kind::app::<A>());
        self
    }

    /// Adds a service of the program as a kind of app. It replaces one with the same name.
    #[must_use]
    pub fn router(mut self, name: &'static str, service: impl IntoApp + Clone + Send + Sync + 'static) -> Self {
        put(&mut self.apps, Kind::service(name, service));
        self
    }

    /// Adds a composite app.
    pub(crate) fn composite<C: Composite>(mut self) -> Self {
        put(&mut self.apps, Kind::composite::<C>());
        self
    }

    /// Gives facts about the program to composite apps, as a [`Lifecycle`](ziggurat_middleware::Lifecycle) gives them to layers and apps. A `django`
    /// entry needs a [`Launcher`](crate::Launcher).
    #[must_use]
    pub fn hosted(mut self, host: Extensions) -> Self {
        self.host = host;
        self
    }

    pub(crate) const fn host(&self) -> &Extensions {
        &self.host
    }

    /// Adds `wsgi`, as a kind of app and as a layer.
    pub(crate) fn wsgi(mut self) -> Self {
        put(&mut self.layers, Kind::python_layer());
        put(&mut self.apps, Kind::python_app());
        self
    }

    /// All layers, by name.
    #[must_use]
    pub fn layers(&self) -> &[Kind] {
        &self.layers
    }

    /// All kinds of app, by name.
    #[must_use]
    pub fn apps(&self) -> &[Kind] {
        &self.apps
    }

    pub(crate) fn find(&self, role: Role, name: &str) -> Option<Kind> {
        self.of(role).iter().find(|kind| kind.name == name).cloned()
    }

    pub(crate) fn of(&self, role: Role) -> &[Kind] {
        match role {
            Role::Layer => &self.layers,
            Role::App => &self.apps,
        }
    }
}

fn put(kinds: &mut Vec<Kind>, kind: Kind) {
    match kinds.binary_search_by_key(&kind.name, |kind| kind.name) {
        Ok(at) => kinds[at] = kind,
        Err(at) => kinds.insert(at, kind),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Layer,
    App,
}

impl Role {
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::App => "app",
        }
    }
}
