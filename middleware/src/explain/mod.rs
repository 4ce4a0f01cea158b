//! What a layer or an app says of one request, without being built.

mod outcome;

use std::path::PathBuf;

use http::StatusCode;

pub use self::outcome::{ExplainResponse, Explained, PossibleAnswer};
use crate::{Behavior, Context, Place, Problem, Request, Response};

/// A request at a layer or an app that explains what it does with it: [`Middleware::explain`](crate::Middleware::explain) and
/// [`App::explain`](crate::App::explain).
///
/// The request is as the layers above leave it, with an empty body: head, [`ConnectionInfo`](crate::ConnectionInfo), [`RemoteUser`](crate::RemoteUser),
/// [`Mount`](crate::Mount) and the other facts. `Content-Length` announces the size of the body. What the layer changes in it, the layers below see.
///
/// Sentences begin in lower case, have names in backticks and no full stop.
///
/// ```
/// use std::sync::Arc;
///
/// use schemars::JsonSchema;
/// use serde::Deserialize;
/// use ziggurat_middleware::units::HeaderKey;
/// use ziggurat_middleware::{Context, Explain, IntoStage, Middleware, Problem, Request, Response, Result, TestStack, around};
///
/// /// Refuses requests that lack a header.
/// #[derive(Deserialize, JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Demand {
///     /// The header that a request must have.
///     header: HeaderKey,
/// }
///
/// impl Demand {
///     /// The decision, for serving and for explaining.
///     fn check(&self, request: &Request) -> Result<(), Problem> {
///         if request.headers().contains_key(&self.header.0) {
///             return Ok(());
///         }
///         Err(Problem::new(http::StatusCode::BAD_REQUEST).detail(format!("the header `{}` is needed", self.header)))
///     }
/// }
///
/// impl Middleware for Demand {
///     const NAME: &'static str = "demand";
///
///     fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
///         match self.check(explain.request()) {
///             Ok(()) => explain.note(format!("the request has `{}`", self.header)),
///             Err(problem) => explain.refuse(problem),
///         }
///         Ok(())
///     }
///
///     fn layer(self, _: &Context) -> Result<impl IntoStage> {
///         let demand = Arc::new(self);
///         Ok(around(move |request: &mut Request| demand.check(request).map(|()| |response: Response| response)))
///     }
/// }
///
/// # use ziggurat_middleware::{Body, request};
/// let explained = TestStack::explain::<Demand>(r#"{ "header": "x-tenant" }"#, request(http::Method::GET, "/", Body::empty()));
/// assert_eq!(explained.notes, ["the header `x-tenant` is needed"]);
/// assert_eq!(explained.answer.unwrap().status(), 400);
/// ```
#[derive(Debug)]
pub struct Explain<'a> {
    context: &'a Context,
    explained: Explained,
}

impl<'a> Explain<'a> {
    /// A request at the place of `context`.
    #[must_use]
    pub const fn new(context: &'a Context, request: Request) -> Self {
        let explained =
            Explained { request, notes: Vec::new(), possible: Vec::new(), answer: None, is_vague: false, on_response: Vec::new() };
        Self { context, explained }
    }

    /// The context that the layer or app would be built with, for its place, its folders and the facts about the program. Nothing may be registered
    /// with it or started.
    #[must_use]
    pub const fn context(&self) -> &'a Context {
        self.context
    }

    /// The identity of this layer or app in the pipeline.
    #[must_use]
    pub const fn place(&self) -> &'a Place {
        self.context.place()
    }

    /// The path that the file means: a relative path starts at the folder of the pipeline file.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<std::path::Path>) -> PathBuf {
        self.context.resolve(path)
    }

    /// The request as it is here.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.explained.request
    }

    /// The request, to be changed as the layer changes it for the layers below.
    pub const fn request_mut(&mut self) -> &mut Request {
        &mut self.explained.request
    }

    /// Says what is done with the request, and why.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.explained.notes.push(sentence.into());
    }

    /// Says that this status is answered here on a condition that only a running stack can judge: "if the bucket is empty". The explanation follows
    /// the request further down.
    pub fn may_answer(&mut self, status: StatusCode, condition: impl Into<String>) {
        self.explained.possible.push(PossibleAnswer { status, condition: condition.into() });
    }

    /// States that the request is answered here, with this response. An app that states none is one that decides while it runs.
    pub fn answer(&mut self, response: Response) {
        self.explained.answer = Some(response);
    }

    /// Whether an answer was stated.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.explained.answer.is_some()
    }

    /// States that the request is answered here, with this problem. Its cause, or else its detail, is the reason.
    pub fn refuse(&mut self, problem: Problem) {
        let reason = match std::error::Error::source(&problem) {
            Some(cause) => cause.to_string(),
            None => problem.shown().to_owned(),
        };
        if !reason.is_empty() {
            self.note(reason);
        }
        self.answer(problem.into_response());
    }

    /// Does what a layer of [`around`](crate::around) with the same closure does: changes the request, and the response where it is known; or
    /// [refuses](Self::refuse) the request. Returns whether the request passes.
    pub fn around<U>(&mut self, down: impl FnOnce(&mut Request) -> Result<U, Problem>) -> bool
    where
        U: FnOnce(Response) -> Response + 'static,
    {
        match down(&mut self.explained.request) {
            Ok(up) => {
                self.on_response(move |response| response.change(up));
                true
            }
            Err(problem) => {
                self.refuse(problem);
                false
            }
        }
    }

    /// Adds what is said of the response on its way back. It is not called if the request is answered here.
    pub fn on_response(&mut self, hook: impl FnOnce(&mut ExplainResponse<'_>) + 'static) {
        self.explained.on_response.push(Box::new(hook));
    }

    /// States that only the running layer can tell what becomes of the request and its response.
    pub const fn leave_open(&mut self) {
        self.explained.is_vague = true;
    }

    /// Says what this behavior means, where nothing more is known.
    pub fn behavior(&mut self, behavior: &[Behavior]) {
        self.leave_open();
        match behavior {
            [] => self.note("does not say what it does"),
            behavior => behavior.iter().for_each(|behavior| self.note(behavior.summary())),
        }
    }

    /// What was said.
    #[must_use]
    pub fn finish(self) -> Explained {
        self.explained
    }
}
