//! Which layers and apps a pipeline may name.

use std::fmt;
use std::sync::Arc;

use http::Extensions;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use ziggurat_middleware::{App, Context, Finding, Findings, IntoApp, IntoStage, Middleware, Next, Options, Place};

use super::diagnostic::Diagnostic;
use super::expand::Mask;
use super::read::{Subject, locate, read};
use super::tree::Node;
use crate::wsgi::{Wsgi, WsgiLayer};

/// The layers and apps that files may name. A program of one's own starts from [`crate::builtin`] and adds its layers.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    layers: Vec<Kind>,
    apps: Vec<Kind>,
    /// What entries that expand may know about the program.
    host: Extensions,
}

/// An app entry that stands for an app of other kinds. It is expanded while the file is read, before anything is built.
pub(crate) trait Expansion: Options {
    const NAME: &'static str;
    const SHORTHAND: Option<&'static str>;

    /// Finds what no type can say about the options.
    fn validate(&self, findings: &mut Findings);

    /// The list of routes that `options` stand for.
    fn expand(self, options: &Node, context: &Context) -> Result<Node, Finding>;
}

impl Registry {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer; it takes the place of one with the same name.
    #[must_use]
    pub fn layer<M: Middleware>(mut self) -> Self {
        put(&mut self.layers, Kind::layer::<M>());
        self
    }

    /// Adds a kind of app; it takes the place of one with the same name.
    #[must_use]
    pub fn app<A: App>(mut self) -> Self {
        put(&mut self.apps, Kind::app::<A>());
        self
    }

    /// Adds a service of the program's own as a kind of app; it takes the place of one with the same name.
    #[must_use]
    pub fn router(mut self, name: &'static str, service: impl IntoApp + Clone + Send + Sync + 'static) -> Self {
        put(&mut self.apps, Kind::service(name, Service::new(service)));
        self
    }

    /// Adds an entry that expands.
    pub(crate) fn expansion<E: Expansion>(mut self) -> Self {
        put(&mut self.apps, Kind::expansion::<E>());
        self
    }

    /// What entries that expand may know about the program, as a [`Lifecycle`](ziggurat_middleware::Lifecycle) has it for layers and apps: a `django`
    /// entry needs a [`Launch`](crate::Launch).
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
        put(&mut self.layers, Kind::wsgi_layer());
        put(&mut self.apps, Kind { make: Make::PythonApp, ..Kind::app::<Wsgi>() });
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

/// A layer or a kind of app, known by its name.
#[derive(Clone, Debug)]
pub struct Kind {
    /// The name in the file.
    pub name: &'static str,
    pub(crate) role: Role,
    pub(crate) shorthand: Option<&'static str>,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    check: fn(&Node, Subject<'_>) -> Vec<Diagnostic>,
    make: Make,
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

type MakeLayer = fn(&Node, Subject<'_>, &Context, Next) -> Result<Next, Vec<Diagnostic>>;
type Expand = fn(&Node, Subject<'_>, &Context) -> Result<Node, Vec<Diagnostic>>;
type MakeApp = fn(&Node, Subject<'_>, &Context) -> Result<Next, Vec<Diagnostic>>;

#[derive(Clone, Debug)]
enum Make {
    Layer(MakeLayer),
    App(MakeApp),
    /// It is there already.
    Service(Service),
    /// Nothing is made of it but the routes that it stands for.
    Routes(Expand),
    /// [`WsgiLayer`].
    PythonLayer,
    /// [`Wsgi`].
    PythonApp,
}

/// A service of the program's own, for any number of places in the file.
#[derive(Clone)]
pub(crate) struct Service(Arc<dyn Fn(&Place) -> Next + Send + Sync>);

impl Service {
    pub(crate) fn new(service: impl IntoApp + Clone + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |place| service.clone().into_next(place)))
    }

    pub(crate) fn at(&self, place: &Place) -> Next {
        (self.0)(place)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

/// Answers with a service that is part of this program, such as an axum router. It has no options.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServiceOfTheProgram {}

impl Kind {
    fn layer<M: Middleware>() -> Self {
        Self {
            name: M::NAME,
            role: Role::Layer,
            shorthand: M::SHORTHAND,
            schema: M::schema,
            check: |options, subject| check(options, subject, M::validate),
            make: Make::Layer(|options, subject, context, inner| {
                let Given::<M>(layer) = read(options, subject)?;
                let stage = layer.layer(context).map_err(|finding| vec![locate(finding, options, subject)])?;
                Ok(stage.stage(context.place(), inner))
            }),
        }
    }

    fn app<A: App>() -> Self {
        Self {
            name: A::NAME,
            role: Role::App,
            shorthand: A::SHORTHAND,
            schema: A::schema,
            check: |options, subject| check(options, subject, A::validate),
            make: Make::App(|options, subject, context| {
                let Given::<A>(app) = read(options, subject)?;
                let app = app.app(context).map_err(|finding| vec![locate(finding, options, subject)])?;
                Ok(app.into_next(context.place()))
            }),
        }
    }

    fn service(name: &'static str, service: Service) -> Self {
        Self {
            name,
            role: Role::App,
            shorthand: None,
            schema: ServiceOfTheProgram::schema,
            check: |options, subject| check(options, subject, |_: &ServiceOfTheProgram, _| {}),
            make: Make::Service(service),
        }
    }

    fn expansion<E: Expansion>() -> Self {
        Self {
            name: E::NAME,
            role: Role::App,
            shorthand: E::SHORTHAND,
            schema: E::schema,
            check: |options, subject| check(options, subject, E::validate),
            make: Make::Routes(|options, subject, context| {
                let Given::<E>(entry) = read(options, subject)?;
                entry.expand(options, context).map_err(|finding| vec![locate(finding, options, subject)])
            }),
        }
    }

    fn wsgi_layer() -> Self {
        Self {
            name: Wsgi::NAME,
            role: Role::Layer,
            shorthand: WsgiLayer::SHORTHAND,
            schema: |generator| generator.subschema_for::<WsgiLayer>(),
            check: |options, subject| check(options, subject, WsgiLayer::validate),
            make: Make::PythonLayer,
        }
    }

    /// Whether it is made of Python.
    pub(crate) const fn is_python(&self) -> bool {
        matches!(self.make, Make::PythonLayer | Make::PythonApp)
    }

    /// One line about what it does: the first sentence of its description.
    #[must_use]
    pub fn summary(&self) -> String {
        let options = self.options();
        let text = options.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        let end = text.find(". ").map_or(text.len(), |end| end + 1);
        text[..end].to_owned()
    }

    /// The JSON Schema of its options object, with definitions of its own.
    #[must_use]
    pub fn options(&self) -> Value {
        let mut generator = SchemaGenerator::default();
        let schema = (self.schema)(&mut generator);
        let mut definitions = generator.take_definitions(true);
        // `subschema_for` gives a reference; what it refers to is the schema itself.
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next()).map(str::to_owned);
        let mut root = match name.and_then(|name| definitions.remove(&name)) {
            Some(root) => root,
            None => schema.to_value(),
        };
        if let (Value::Object(root), false) = (&mut root, definitions.is_empty()) {
            root.insert("$defs".to_owned(), Value::Object(definitions));
        }
        root
    }

    /// The option that a value which is no object stands for.
    #[must_use]
    pub const fn shorthand(&self) -> Option<&'static str> {
        self.shorthand
    }

    /// "layer `compress`".
    pub(crate) fn title(&self) -> String {
        format!("{} `{}`", self.role.noun(), self.name)
    }

    /// The options that a value stands for.
    pub(crate) fn spelled_out(&self, value: Node) -> Node {
        match self.shorthand {
            Some(field) if !value.is_object() => value.under(field),
            _ => value,
        }
    }

    /// What is wrong with these options as far as their types and [`Middleware::validate`] say.
    pub(crate) fn check(&self, options: &Node, mask: &Mask) -> Vec<Diagnostic> {
        (self.check)(options, self.subject(&self.title(), mask))
    }

    /// Acquires what the layer or app needs. A layer is put over `inner`; an app has none below it.
    pub(crate) fn make(&self, options: &Node, mask: &Mask, context: &Context, inner: Option<Next>) -> Result<Next, Vec<Diagnostic>> {
        let title = self.title();
        let subject = self.subject(&title, mask);
        match (&self.make, inner) {
            (Make::Layer(make), Some(inner)) => make(options, subject, context, inner),
            (Make::App(make), None) => make(options, subject, context),
            (Make::Service(service), None) => Ok(service.at(context.place())),
            (Make::PythonApp, None) => {
                let app: Wsgi = read(options, subject)?;
                let app = app.app(context).map_err(|finding| vec![locate(finding, options, subject)])?;
                Ok(app.into_next(context.place()))
            }
            _ => Err(vec![Diagnostic::error(format!("{title} stands at the wrong end of a stack"), options.span.clone())]),
        }
    }

    /// Whether it is an entry that stands for others.
    pub(crate) const fn expands(&self) -> bool {
        matches!(self.make, Make::Routes(_))
    }

    /// The routes that an entry with these options stands for, if it is one that expands.
    pub(crate) fn expand(&self, options: &Node, mask: &Mask, context: &Context) -> Option<Result<Node, Vec<Diagnostic>>> {
        match self.make {
            Make::Routes(expand) => Some(expand(options, self.subject(&self.title(), mask), context)),
            _ => None,
        }
    }

    /// Reads the options and does something with them that may fail at one of them.
    pub(crate) fn with<T: DeserializeOwned, R>(
        &self,
        options: &Node,
        mask: &Mask,
        run: impl FnOnce(T) -> Result<R, Finding>,
    ) -> Result<R, Vec<Diagnostic>> {
        let title = self.title();
        let subject = self.subject(&title, mask);
        run(read(options, subject)?).map_err(|finding| vec![locate(finding, options, subject)])
    }

    const fn subject<'a>(&self, title: &'a str, mask: &'a Mask) -> Subject<'a> {
        Subject { name: title, noun: "option", mask }
    }
}

/// Options as serde reads them.
struct Given<T>(T);

impl<'de, T: Options> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Self)
    }
}

fn check<T: Options>(options: &Node, subject: Subject<'_>, validate: fn(&T, &mut Findings)) -> Vec<Diagnostic> {
    match read(options, subject) {
        Ok(Given::<T>(value)) => {
            let mut findings = Findings::default();
            validate(&value, &mut findings);
            findings.into_iter().map(|finding| locate(finding, options, subject)).collect()
        }
        Err(findings) => findings,
    }
}
