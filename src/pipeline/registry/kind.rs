//! A layer or a kind of app: its name, its schema, and how one is made from its options.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::Version;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tower::ServiceExt;
use ziggurat_middleware::path::PathParamUse;
use ziggurat_middleware::{
    App, Behavior, Context, Effects, Explain, Finding, Findings, IntoApp, IntoStage, Middleware, Next, Options, Place, Request, Step,
    Upgrade,
};

use super::{Composite, Role};
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::names::closest;
use crate::pipeline::options::OptionReader;
use crate::pipeline::secrets::Secrets;
use crate::pipeline::tree::Node;
use crate::wsgi::{Wsgi, WsgiLayer};

/// A layer or a kind of app, known by its name.
#[derive(Clone, Debug)]
pub struct Kind {
    /// The name in the file.
    pub name: &'static str,
    pub(crate) role: Role,
    pub(crate) behavior: &'static [Behavior],
    /// The Python middleware that does the same.
    pub(crate) replaces: &'static [&'static str],
    pub(crate) shorthand: Option<&'static str>,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    check: fn(&Node, OptionReader<'_>) -> Vec<Diagnostic>,
    params: fn(&Node, OptionReader<'_>) -> Vec<PathParamUse>,
    explain: ExplainPart,
    effects: fn(&Node, OptionReader<'_>) -> Effects,
    make: Make,
}

type ExplainPart = fn(&Node, OptionReader<'_>, &mut Explain<'_>) -> Result<(), Vec<Diagnostic>>;
type MakeLayer = fn(&Node, OptionReader<'_>, &Context, Next) -> Result<Next, Vec<Diagnostic>>;
type MakeApp = fn(&Node, OptionReader<'_>, &Context) -> Result<Next, Vec<Diagnostic>>;
type Compose = fn(&Node, OptionReader<'_>, &Context) -> Result<Node, Vec<Diagnostic>>;

#[derive(Clone, Debug)]
enum Make {
    Layer(MakeLayer),
    App(MakeApp),
    /// An existing service.
    Service(Service),
    /// Composed into routes before anything is built.
    Composite(Compose),
    /// [`WsgiLayer`].
    PythonLayer,
    /// [`Wsgi`].
    PythonApp,
}

/// A service of the program, for any number of places in the file.
#[derive(Clone)]
pub(crate) struct Service(Arc<dyn Fn(&Place) -> Next + Send + Sync>);

impl Service {
    pub(crate) fn new(service: impl IntoApp + Clone + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |place| Next::new(place, service.clone().into_next(place).map_request(in_its_version))))
    }

    pub(crate) fn at(&self, place: &Place) -> Next {
        (self.0)(place)
    }
}

/// Routers expect an upgrade in the form of the request's version. A WebSocket over HTTP/2 has the form of HTTP/1.1 here.
fn in_its_version(mut request: Request) -> Request {
    if request.extensions().get::<Upgrade>().is_some() {
        *request.version_mut() = Version::HTTP_11;
    }
    request
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
    pub(super) fn layer<M: Middleware>() -> Self {
        Self {
            name: M::NAME,
            role: Role::Layer,
            behavior: M::BEHAVIOR,
            replaces: M::REPLACES,
            shorthand: M::SHORTHAND,
            schema: M::schema,
            check: |options, reader| check(options, reader, M::validate),
            params: |options, reader| reader.read(options).map_or_else(|_| Vec::new(), |AsOptions::<M>(layer)| layer.path_params()),
            explain: |options, reader, explain| {
                explained(options, reader, explain, |AsOptions::<M>(layer), explain| layer.explain(explain))
            },
            effects: |options, reader| effects(options, reader, M::effects),
            make: Make::Layer(|options, reader, context, inner| {
                let AsOptions::<M>(layer) = reader.read(options)?;
                built(|| Ok(layer.layer(context)?.stage(context.place(), inner)))
                    .map_err(|finding| vec![reader.locate(Id::CannotBuild, finding, options)])
            }),
        }
    }

    pub(super) fn app<A: App>() -> Self {
        Self {
            name: A::NAME,
            role: Role::App,
            behavior: A::BEHAVIOR,
            replaces: &[],
            shorthand: A::SHORTHAND,
            schema: A::schema,
            check: |options, reader| check(options, reader, A::validate),
            params: |options, reader| reader.read(options).map_or_else(|_| Vec::new(), |AsOptions::<A>(app)| app.path_params()),
            explain: |options, reader, explain| explained(options, reader, explain, |AsOptions::<A>(app), explain| app.explain(explain)),
            effects: |options, reader| effects(options, reader, A::effects),
            make: Make::App(|options, reader, context| {
                let AsOptions::<A>(app) = reader.read(options)?;
                built(|| Ok(app.app(context)?.into_next(context.place())))
                    .map_err(|finding| vec![reader.locate(Id::CannotBuild, finding, options)])
            }),
        }
    }

    pub(super) fn service(name: &'static str, service: impl IntoApp + Clone + Send + Sync + 'static) -> Self {
        Self {
            name,
            role: Role::App,
            behavior: &[],
            replaces: &[],
            shorthand: None,
            schema: ServiceOfTheProgram::schema,
            check: |options, reader| check(options, reader, |_: &ServiceOfTheProgram, _| {}),
            params: |_, _| Vec::new(),
            explain: |_, _, explain| {
                explain.note("a service of the program answers");
                Ok(())
            },
            effects: |_, _| Effects::default(),
            make: Make::Service(Service::new(service)),
        }
    }

    pub(super) fn composite<C: Composite>() -> Self {
        Self {
            name: C::NAME,
            role: Role::App,
            behavior: &[],
            replaces: &[],
            shorthand: C::SHORTHAND,
            schema: C::schema,
            check: |options, reader| check(options, reader, C::validate),
            params: |_, _| Vec::new(),
            // It has become routes by the time that anything is explained.
            explain: |_, _, _| Ok(()),
            effects: |_, _| Effects::default(),
            make: Make::Composite(|options, reader, context| {
                let AsOptions::<C>(entry) = reader.read(options)?;
                entry.compose(options, context).map_err(|finding| vec![reader.locate(Id::CannotBuild, finding, options)])
            }),
        }
    }

    pub(super) fn python_layer() -> Self {
        Self {
            name: Wsgi::NAME,
            role: Role::Layer,
            behavior: Wsgi::BEHAVIOR,
            replaces: &[],
            shorthand: WsgiLayer::SHORTHAND,
            schema: |generator| generator.subschema_for::<WsgiLayer>(),
            check: |options, reader| check(options, reader, WsgiLayer::validate),
            params: |_, _| Vec::new(),
            explain: |options, reader, explain| {
                explained(options, reader, explain, |layer: WsgiLayer, explain| {
                    layer.tell(explain);
                    Ok(())
                })
            },
            effects: |options, reader| effects(options, reader, WsgiLayer::effects),
            make: Make::PythonLayer,
        }
    }

    pub(super) fn python_app() -> Self {
        Self { make: Make::PythonApp, ..Self::app::<Wsgi>() }
    }

    /// Whether it is made by the bridge to Python.
    pub(crate) const fn is_python(&self) -> bool {
        matches!(self.make, Make::PythonLayer | Make::PythonApp)
    }

    /// Whether its author lists this behavior.
    pub(crate) fn has(&self, behavior: Behavior) -> bool {
        self.behavior.contains(&behavior)
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
        // `subschema_for` gives a reference to the schema itself.
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

    /// The option that takes a value which is not an object.
    #[must_use]
    pub const fn shorthand(&self) -> Option<&'static str> {
        self.shorthand
    }

    /// "layer `compress`".
    pub(crate) fn title(&self) -> String {
        format!("{} `{}`", self.role.noun(), self.name)
    }

    /// The options object for a value, which may be the shorthand.
    pub(crate) fn without_shorthand(&self, value: Node) -> Node {
        match self.shorthand {
            Some(field) if !value.is_object() => value.under(field),
            _ => value,
        }
    }

    /// The mistakes that the types of these options and [`Middleware::validate`] find.
    pub(crate) fn check(&self, options: &Node, secrets: &Secrets) -> Vec<Diagnostic> {
        (self.check)(options, self.reader(&self.title(), secrets))
    }

    /// The mistakes about `{name}`s in these options that are not known here. `lost` are names that are known above the next Python layer alone.
    pub(crate) fn check_params(&self, options: &Node, secrets: &Secrets, known: &BTreeSet<&str>, lost: &BTreeSet<&str>) -> Vec<Diagnostic> {
        let title = self.title();
        let reader = self.reader(&title, secrets);
        let unknown = (self.params)(options, reader).into_iter().filter(|used| !known.contains(used.name.as_str()));
        let findings = unknown.map(|PathParamUse { name, path, hint }| {
            let hint = match closest(&name, known.iter().copied()) {
                _ if lost.contains(name.as_str()) => "names of routes above a Python layer are not known below it".to_owned(),
                Some(meant) => format!("did you mean `{{{meant}}}`?"),
                None => format!("name a segment of its `path`, as in `/users/{{{name}}}`; {hint}"),
            };
            let finding = Finding::new(format!("no route above has `{{{name}}}` in its `path`")).hint(hint);
            reader.locate(Id::UnknownName, Finding { path, ..finding }, options)
        });
        findings.collect()
    }

    /// What the layer or app does with these options. Effects of options that are not among them are left out.
    pub(crate) fn effects(&self, options: &Node, secrets: &Secrets) -> Effects {
        let title = self.title();
        let mut effects = (self.effects)(options, self.reader(&title, secrets));
        effects.retain_given(|option| is_given(options, option));
        effects
    }

    /// Acquires what the layer or app needs. A layer is put over `inner`; an app has none below it.
    pub(crate) fn make(&self, options: &Node, secrets: &Secrets, context: &Context, inner: Option<Next>) -> Result<Next, Vec<Diagnostic>> {
        let title = self.title();
        let reader = self.reader(&title, secrets);
        match (&self.make, inner) {
            (Make::Layer(make), Some(inner)) => make(options, reader, context, inner),
            (Make::App(make), None) => make(options, reader, context),
            (Make::Service(service), None) => Ok(service.at(context.place())),
            (Make::PythonApp, None) => {
                let app: Wsgi = reader.read(options)?;
                let app = app.app(context).map_err(|finding| vec![reader.locate(Id::CannotBuild, finding, options)])?;
                Ok(app.into_next(context.place()))
            }
            _ => Err(vec![Diagnostic::error(Id::WrongRole, format!("{title} is at the wrong end of a stack"), options.span.clone())]),
        }
    }

    /// Has the layer or app say what it does with a request.
    pub(crate) fn explain(&self, options: &Node, secrets: &Secrets, explain: &mut Explain<'_>) -> Result<(), Vec<Diagnostic>> {
        (self.explain)(options, self.reader(&self.title(), secrets), explain)
    }

    /// The routes that these options mean, if it is a composite app.
    pub(crate) fn compose(&self, options: &Node, secrets: &Secrets, context: &Context) -> Option<Result<Node, Vec<Diagnostic>>> {
        match self.make {
            Make::Composite(compose) => Some(compose(options, self.reader(&self.title(), secrets), context)),
            _ => None,
        }
    }

    /// Reads the options and does something with them that may fail at one of them.
    pub(crate) fn with<T: DeserializeOwned, R>(
        &self,
        options: &Node,
        secrets: &Secrets,
        run: impl FnOnce(T) -> Result<R, Finding>,
    ) -> Result<R, Vec<Diagnostic>> {
        let title = self.title();
        let reader = self.reader(&title, secrets);
        run(reader.read(options)?).map_err(|finding| vec![reader.locate(Id::CannotBuild, finding, options)])
    }

    const fn reader<'a>(&self, title: &'a str, secrets: &'a Secrets) -> OptionReader<'a> {
        OptionReader { owner: title, noun: "option", secrets }
    }
}

/// Reads the options and has what they make explain itself.
fn explained<T: DeserializeOwned>(
    options: &Node,
    reader: OptionReader<'_>,
    explain: &mut Explain<'_>,
    tell: impl FnOnce(T, &mut Explain<'_>) -> Result<(), Finding>,
) -> Result<(), Vec<Diagnostic>> {
    let options_read: T = reader.read(options)?;
    built(|| tell(options_read, explain)).map_err(|finding| vec![reader.locate(Id::CannotBuild, finding, options)])
}

/// What a layer or an app gives; a panic of it is a finding like an error.
fn built<T>(build: impl FnOnce() -> Result<T, Finding>) -> Result<T, Finding> {
    catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(Finding::new(format!("it panicked: {}", message.unwrap_or("no message")))
            .hint("this is a mistake in its code, not in the file"))
    })
}

/// Options as they read themselves.
struct AsOptions<T>(T);

impl<'de, T: Options> Deserialize<'de> for AsOptions<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Self)
    }
}

/// Whether the file gives this option, or the option within an option that has a dot.
fn is_given(options: &Node, option: &str) -> bool {
    let (key, inner) = option.split_once('.').map_or((option, None), |(key, inner)| (key, Some(inner)));
    let given = options.children().find(|(step, _)| matches!(step, Step::Key(own) if own == key));
    given.is_some_and(|(_, value)| inner.is_none_or(|inner| is_given(value, inner)))
}

fn effects<T: Options>(options: &Node, reader: OptionReader<'_>, list: fn(&T, &mut Effects)) -> Effects {
    let mut effects = Effects::default();
    if let Ok(AsOptions::<T>(value)) = reader.read(options) {
        list(&value, &mut effects);
    }
    effects
}

fn check<T: Options>(options: &Node, reader: OptionReader<'_>, validate: fn(&T, &mut Findings)) -> Vec<Diagnostic> {
    match reader.read(options) {
        Ok(AsOptions::<T>(value)) => {
            let mut findings = Findings::default();
            validate(&value, &mut findings);
            findings.into_iter().map(|finding| reader.locate(Id::InvalidValue, finding, options)).collect()
        }
        Err(findings) => findings,
    }
}
