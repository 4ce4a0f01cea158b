//! Ziggurat: one JSON file declares a stack of native layers around a WSGI app, and one program runs it.
//!
//! # A layer of one's own
//!
//! A layer is a documented struct of options that gives a tower layer; a program that has it is three lines more:
//!
//! ```no_run
//! use tower_http::set_header::SetResponseHeaderLayer;
//! use ziggurat::prelude::*;
//!
//! /// Adds a fixed `x-stamp` header to every response.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Stamp {
//!     /// Value of the header.
//!     value: HeaderText,
//! }
//!
//! impl Middleware for Stamp {
//!     const NAME: &'static str = "stamp";
//!
//!     fn layer(self, _: &Context) -> Result<impl IntoStage> {
//!         let name = HeaderName::from_static("x-stamp");
//!         Ok(SetResponseHeaderLayer::overriding(name, HeaderValue::from(self.value)))
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     Ziggurat::new().layer::<Stamp>().main()
//! }
//! ```
//!
//! That is the whole `ziggurat` command (`run`, `check`, `show`, `schema`, ...) with one more layer, for files like
//! `{ "layers": [{ "stamp": { "value": "hello" } }], "app": { "wsgi": "site:app" } }`. Any layer of tower or [tower-http] is returned as it is; who
//! would rather write a function than a service has [`from_fn`](middleware::from_fn) and [`around`](middleware::around).
//!
//! A test of it needs neither sockets nor Python:
//!
//! ```
//! # use tower_http::set_header::SetResponseHeaderLayer;
//! # use ziggurat::prelude::*;
//! # /// Adds a fixed `x-stamp` header to every response.
//! # #[derive(Deserialize, JsonSchema)]
//! # #[serde(deny_unknown_fields)]
//! # struct Stamp {
//! #     /// Value of the header.
//! #     value: HeaderText,
//! # }
//! # impl Middleware for Stamp {
//! #     const NAME: &'static str = "stamp";
//! #     fn layer(self, _: &Context) -> Result<impl IntoStage> {
//! #         let name = HeaderName::from_static("x-stamp");
//! #         Ok(SetResponseHeaderLayer::overriding(name, HeaderValue::from(self.value)))
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let stack = TestStack::of::<Stamp>(r#"{ "value": "hello" }"#).over_text("the app");
//! assert_eq!(stack.get("/").await.header("x-stamp"), "hello");
//! # }
//! ```
//!
//! The dependencies of such a crate:
//!
//! ```toml
//! [dependencies]
//! ziggurat = "0.1"
//! # The derives of `Deserialize` and `JsonSchema` speak of these crates by name.
//! serde = { version = "1", features = ["derive"] }
//! schemars = "1"
//! # Where its layers are used.
//! tower-http = { version = "0.7", features = ["set-header"] }
//! ```
//!
//! # Where to look further
//!
//! - [`middleware`]: the vocabulary: [`Middleware`], [`App`], [`Context`](middleware::Context), [`Problem`](middleware::Problem), facts about a request, and the
//!   native layers, which are written with exactly this and nothing more.
//! - [`Ziggurat`]: a kind of app of one's own, and axum routers beside a WSGI app.
//! - [`TestStack`](middleware::TestStack) for tests of a layer, [`TestPipeline`] for those of a whole file.
//!
//! [tower-http]: https://docs.rs/tower-http
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

use std::ffi::OsString;
use std::process::ExitCode;

pub use ziggurat_middleware as middleware;
use ziggurat_middleware::{App, IntoApp, Middleware};

mod acme;
pub mod apps;
mod body_channel;
mod builtin;
mod call;
mod cgi;
mod cli;
mod conform;
mod detect;
mod docs;
#[doc(hidden)]
pub mod extension;
mod gateway;
mod http2_frames;
mod import;
mod log;
pub mod metrics;
mod new;
mod otlp;
pub mod pipeline;
mod proxy_protocol;
mod reason;
mod run;
pub mod server;
pub mod store;
mod testing;
pub mod tls;
pub mod traces;
mod tunnel;
mod upstream;
mod worker;
pub mod wsgi;

pub use builtin::builtin;
#[cfg(fuzzing)]
pub use gateway::fuzz_gateway;
#[cfg(fuzzing)]
pub use proxy_protocol::fuzz_proxy_protocol;
pub use testing::TestPipeline;
#[cfg(fuzzing)]
pub use worker::fuzz;
pub use worker::launcher::Launcher;

/// What the author of a layer wants in scope.
pub mod prelude {
    pub use std::process::ExitCode;

    pub use ziggurat_middleware::http::{HeaderName, HeaderValue, Method, StatusCode, header};
    pub use ziggurat_middleware::metrics::{Counter, Metrics};
    pub use ziggurat_middleware::schemars::JsonSchema;
    pub use ziggurat_middleware::serde::Deserialize;
    pub use ziggurat_middleware::tower::service_fn;
    pub use ziggurat_middleware::units::{Duration, HeaderKey, HeaderText, Size};
    pub use ziggurat_middleware::{
        App, Behavior, Body, BoxError, Client, ConnectionInfo, Context, Finding, Findings, IntoApp, IntoStage, Middleware, Next, Place,
        Problem, RemoteUser, Request, RequestId, Response, Result, TestStack, around, from_fn,
    };

    pub use crate::Ziggurat;
}

/// The program, with the built-in layers and apps and those added to it.
#[derive(Debug)]
pub struct Ziggurat {
    registry: pipeline::Registry,
    /// How this program is started again, where that is not by its executable alone.
    launch: Option<Launcher>,
}

impl Ziggurat {
    /// The program as it comes.
    #[must_use]
    pub fn new() -> Self {
        Self { registry: builtin(), launch: None }
    }

    /// Adds a layer under its [`Middleware::NAME`]; it takes the place of a built-in one of that name.
    #[must_use]
    pub fn layer<T: Middleware>(mut self) -> Self {
        self.registry = self.registry.layer::<T>();
        self
    }

    /// Adds a kind of app under its [`App::NAME`]; it takes the place of a built-in one of that name.
    #[must_use]
    pub fn app<T: App>(mut self) -> Self {
        self.registry = self.registry.app::<T>();
        self
    }

    /// Makes a service of the program's own a kind of app, for `"app": { "NAME": {} }`: an axum `Router`, or any other tower service. So the hot
    /// routes of a site move to Rust one at a time, beside its WSGI app and under the same layers.
    ///
    /// What the server and the layers found out about a request is among its extensions, where axum's `Extension` finds it:
    ///
    /// ```
    /// use axum::{Extension, Router, routing::get};
    /// use ziggurat::prelude::*;
    ///
    /// async fn whoami(Extension(id): Extension<RequestId>, user: Option<Extension<RemoteUser>>) -> String {
    ///     format!("{} in request {}", user.map_or("nobody".into(), |user| user.user.clone()), id.as_str())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let program = Ziggurat::new().router("api", Router::new().route("/whoami", get(whoami)));
    /// // `program.main()` runs it; here it is put to the test.
    /// let stack = program.test().wsgi("site:app", async |_| Response::new(Body::from("the site"))).pipeline(
    ///     r#"{
    ///         "layers": ["request_id"],
    ///         "app": { "routes": [
    ///             { "mount": "/api", "app": { "api": {} } },
    ///             { "app": { "wsgi": "site:app" } }
    ///         ] }
    ///     }"#,
    /// );
    /// assert!(stack.get("/api/whoami").await.text().starts_with("nobody in request "));
    /// assert_eq!(stack.get("/").await.text(), "the site");
    /// # }
    /// ```
    #[must_use]
    pub fn router(mut self, name: &'static str, service: impl IntoApp + Clone + Send + Sync + 'static) -> Self {
        self.registry = self.registry.router(name, service);
        self
    }

    /// Runs the command line of this process.
    #[must_use]
    pub fn main(self) -> ExitCode {
        ExitCode::from(self.run(std::env::args_os()))
    }

    /// Runs a command line, the program's name first, and gives the exit code: 0 success, 1 a failure while running, 2 a wrong file or
    /// command line.
    #[must_use]
    pub fn run(self, arguments: impl IntoIterator<Item = OsString>) -> u8 {
        cli::main(&self.registry, self.launch, arguments)
    }

    /// Says how this program is started again, where that is not by its executable alone.
    pub(crate) fn launched_by(mut self, launch: Launcher) -> Self {
        self.launch = Some(launch);
        self
    }
}

impl Default for Ziggurat {
    fn default() -> Self {
        Self::new()
    }
}
