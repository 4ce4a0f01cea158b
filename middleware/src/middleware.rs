//! The traits of layers and apps: structs of options that become parts of a stack.

use crate::path::PathParamUse;
use crate::service::Options;
use crate::{Behavior, Context, Effects, Explain, Findings, IntoApp, IntoStage, Result};

/// A layer: a documented struct of options that becomes a tower layer.
///
/// | step | |
/// | --- | --- |
/// | deserialize | unknown and mistyped options are reported at their line |
/// | [`validate`](Self::validate) | checks options, without side effects; may report several findings |
/// | [`layer`](Self::layer) | opens files, compiles patterns, registers hooks and tasks |
/// | serve | |
/// | retire | background tasks end, then shutdown hooks run |
///
/// The doc comment of the struct is the page of the layer in the docs and its description in the schema. Its first sentence says what the layer does. Give the
/// struct `#[serde(deny_unknown_fields)]`, and `default` if the layer can be used by its bare name.
///
/// ```
/// use std::sync::Arc;
///
/// use schemars::JsonSchema;
/// use serde::Deserialize;
/// use ziggurat_middleware::metrics::Counter;
/// use ziggurat_middleware::units::HeaderKey;
/// use ziggurat_middleware::{Context, Finding, Findings, IntoStage, Middleware, Problem, Request, Response, Result, TestStack, around};
///
/// /// Refuses requests that lack a header.
/// #[derive(Deserialize, JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Demand {
///     /// The headers that a request must have.
///     headers: Vec<HeaderKey>,
///     /// The status of the refusal.
///     #[serde(default = "bad_request")]
///     status: u16,
/// }
///
/// fn bad_request() -> u16 {
///     400
/// }
///
/// impl Middleware for Demand {
///     const NAME: &'static str = "demand";
///     const SHORTHAND: Option<&'static str> = Some("headers");
///
///     // Every mistake, at its option.
///     fn validate(&self, findings: &mut Findings) {
///         if self.headers.is_empty() {
///             findings.push(Finding::new("no header is demanded").at("headers").hint("name one, or remove the layer"));
///         }
///         if !(400..500).contains(&self.status) {
///             findings.push(Finding::new(format!("{} refuses nothing", self.status)).at("status").hint("write 400 to 499"));
///         }
///     }
///
///     // Called once, before any request. `?` works with any error.
///     fn layer(self, context: &Context) -> Result<impl IntoStage> {
///         let status = http::StatusCode::from_u16(self.status)?;
///         let refused = Arc::new(Counter::default());
///         let (figure, place) = (Arc::clone(&refused), context.place().clone());
///         context.on_scrape(move |metrics| {
///             metrics.counter("demand_refused_total", "Requests refused.").sample(&[("place", place.as_str())], &*figure);
///         });
///         let figure = Arc::clone(&refused);
///         context.on_shutdown(move || tracing::info!(refused = figure.get(), "requests lacked a header"));
///         Ok(around(move |request: &mut Request| {
///             match self.headers.iter().find(|name| !request.headers().contains_key(&name.0)) {
///                 None => Ok(|response: Response| response),
///                 Some(name) => {
///                     refused.add(1);
///                     Err(Problem::new(status).detail(format!("the header `{name}` is needed")))
///                 }
///             }
///         }))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let findings = TestStack::refusal::<Demand>(r#"{ "headers": [], "status": 200 }"#);
/// assert_eq!(findings.len(), 2);
///
/// let stack = TestStack::of::<Demand>(r#"["x-tenant"]"#).over_text("the app");
/// assert_eq!(stack.get("/").await.status(), 400);
/// assert_eq!(stack.get("/").header("x-tenant", "7").await.text(), "the app");
/// assert!(stack.metrics().contains(r#"demand_refused_total{place="demand"} 1"#));
/// stack.shutdown().await;
/// assert_eq!(stack.log(), ["INFO refused=1 requests lacked a header"]);
/// # }
/// ```
///
/// A layer of tower or tower-http can be returned as it is; see [`IntoStage`].
pub trait Middleware: Options {
    /// The name in the file.
    const NAME: &'static str;

    /// The option that a bare value sets: with `Some("after")`, `{"timeout": "30s"}` means `{"timeout": {"after": "30s"}}`.
    const SHORTHAND: Option<&'static str> = None;

    /// What the layer does to requests and responses. `ziggurat check` and the recommended order of layers come from it.
    const BEHAVIOR: &'static [Behavior] = &[];

    /// The Python middleware that does the same, as `package.module:object`: there is no need of it below this layer.
    const REPLACES: &'static [&'static str] = &[];

    /// Reports mistakes that the types allow, such as options that exclude each other and values out of range. It has no side effects.
    fn validate(&self, findings: &mut Findings) {
        let _ = findings;
    }

    /// What the layer does with these options, as data with values. `ziggurat check` finds layers in a wrong order by it (`ziggurat lints`).
    fn effects(&self, effects: &mut Effects) {
        let _ = effects;
    }

    /// The `{name}`s in these options that stand for a part of the path: those of a [`PathParams`](crate::path::PathParams). `ziggurat check` reports
    /// one that no route above has in its `path`.
    fn path_params(&self) -> Vec<PathParamUse> {
        Vec::new()
    }

    /// Says what the layer does with a request, and with its response, for `ziggurat explain`: see [`Explain`]. It decides with the code that serves. It starts nothing,
    /// connects to nothing and registers nothing; it may look at files.
    ///
    /// By default, [`BEHAVIOR`](Self::BEHAVIOR) is all that is known.
    ///
    /// # Errors
    ///
    /// What keeps the layer from being built.
    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        explain.behavior(Self::BEHAVIOR);
        Ok(())
    }

    /// Acquires what the layer needs, and gives the tower layer.
    ///
    /// # Errors
    ///
    /// A [`Finding`](crate::Finding) about what cannot be acquired. It is shown at the layer's place in the file, and the stack is not used. A panic is reported in
    /// the same way.
    fn layer(self, context: &Context) -> Result<impl IntoStage>;
}

/// A kind of app, for the bottom of a stack. Its steps are those of a [`Middleware`].
///
/// ```
/// use std::convert::Infallible;
///
/// use schemars::JsonSchema;
/// use serde::Deserialize;
/// use tower::service_fn;
/// use ziggurat_middleware::{App, Body, Context, IntoApp, Request, Response, Result, TestStack};
///
/// /// Answers with a greeting.
/// #[derive(Deserialize, JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Greet {
///     /// Who is greeted.
///     name: String,
/// }
///
/// impl App for Greet {
///     const NAME: &'static str = "greet";
///     const SHORTHAND: Option<&'static str> = Some("name");
///
///     fn app(self, _: &Context) -> Result<impl IntoApp> {
///         let greeting = bytes::Bytes::from(format!("hello, {}", self.name));
///         Ok(service_fn(move |_: Request| {
///             let response = Response::new(Body::from(greeting.clone()));
///             async move { Ok::<_, Infallible>(response) }
///         }))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// assert_eq!(TestStack::app::<Greet>(r#""Ada""#).get("/").await.text(), "hello, Ada");
/// # }
/// ```
pub trait App: Options {
    /// The name in the file.
    const NAME: &'static str;

    /// As [`Middleware::SHORTHAND`].
    const SHORTHAND: Option<&'static str> = None;

    /// As [`Middleware::BEHAVIOR`].
    const BEHAVIOR: &'static [Behavior] = &[];

    /// As [`Middleware::validate`].
    fn validate(&self, findings: &mut Findings) {
        let _ = findings;
    }

    /// As [`Middleware::effects`].
    fn effects(&self, effects: &mut Effects) {
        let _ = effects;
    }

    /// As [`Middleware::path_params`].
    fn path_params(&self) -> Vec<PathParamUse> {
        Vec::new()
    }

    /// Says what the app answers a request with, as [`Middleware::explain`].
    ///
    /// # Errors
    ///
    /// What keeps the app from being built.
    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        explain.behavior(Self::BEHAVIOR);
        Ok(())
    }

    /// Acquires what the app needs, and gives the service.
    ///
    /// # Errors
    ///
    /// As [`Middleware::layer`].
    fn app(self, context: &Context) -> Result<impl IntoApp>;
}
