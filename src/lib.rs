//! Ziggurat: one JSON file declares a stack of native layers around a WSGI app, and one program runs it.
//!
//! A program with layers of its own is three lines:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use http::HeaderValue;
//! use schemars::JsonSchema;
//! use serde::Deserialize;
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
//!     fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
//!         let value = HeaderValue::from(self.value);
//!         Ok(from_fn(value, async |value, request, next: Next| {
//!             let mut response = next.run(request).await;
//!             response.headers_mut().insert("x-stamp", value);
//!             response
//!         }))
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     Ziggurat::new().layer::<Stamp>().main()
//! }
//! ```
//!
//! The vocabulary of layers and the native ones are the crate [`ziggurat_middleware`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

use std::ffi::OsString;
use std::process::ExitCode;

use ziggurat_middleware::{App, Middleware};

pub mod apps;
mod builtin;
mod call;
mod cli;
mod docs;
mod log;
pub mod pipeline;
mod run;
pub mod server;
mod worker;
pub mod wsgi;

pub use builtin::builtin;
#[cfg(fuzzing)]
pub use worker::fuzz;
pub use worker::launch::Launch;

/// What the author of a layer wants in scope.
pub mod prelude {
    pub use ziggurat_middleware::units::{Duration, HeaderKey, HeaderText, Size};
    pub use ziggurat_middleware::{
        App, Body, Context, Finding, Findings, IntoApp, IntoStage, Middleware, Next, Origin, Problem, RemoteUser, Request, RequestId,
        Response, TestStack, from_fn,
    };

    pub use crate::Ziggurat;
}

/// The program, with the built-in layers and apps and those added to it.
#[derive(Debug)]
pub struct Ziggurat {
    registry: pipeline::Registry,
    /// How this program is started again, where that is not by its executable alone.
    launch: Option<Launch>,
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
    pub(crate) fn launched_by(mut self, launch: Launch) -> Self {
        self.launch = Some(launch);
        self
    }
}

impl Default for Ziggurat {
    fn default() -> Self {
        Self::new()
    }
}
