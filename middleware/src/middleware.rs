//! The contract of a layer and of an app: a struct of options that becomes a stage of a stack.

use crate::service::Options;
use crate::{Context, Findings, IntoApp, IntoStage, Result};

/// A layer: a documented struct of options that becomes a tower layer.
///
/// Its life: *deserialize* (unknown or mistyped options are reported at their line) → [`validate`](Self::validate) (pure; may report many
/// findings) → [`layer`](Self::layer) (acquire: open files, compile patterns) → serve → shutdown hooks.
///
/// The struct's doc comment is the layer's page in the docs and its description in the schema, so its first sentence should say what the
/// layer does. Give the struct `#[serde(deny_unknown_fields)]`, and `default` where the layer can be used by its bare name.
pub trait Middleware: Options {
    /// The name in the file, and everywhere else: module, docs, metric, test.
    const NAME: &'static str;

    /// The option that a value which is no object stands for: with `Some("after")`, `{"timeout": "30s"}` means
    /// `{"timeout": {"after": "30s"}}`.
    const SHORTHAND: Option<&'static str> = None;

    /// Reports what no type can: options that exclude each other, values out of bounds. Touches nothing outside.
    fn validate(&self, findings: &mut Findings) {
        let _ = findings;
    }

    /// Acquires what the layer needs and gives the stage.
    ///
    /// # Errors
    ///
    /// A [`Finding`](crate::Finding) about what could not be acquired; it is shown at this layer's place in the file, and nothing starts.
    fn layer(self, context: &Context) -> Result<impl IntoStage>;
}

/// A kind of app: what can stand at the bottom of a stack. The same life as a [`Middleware`].
pub trait App: Options {
    /// The kind's name in the file.
    const NAME: &'static str;

    /// As [`Middleware::SHORTHAND`].
    const SHORTHAND: Option<&'static str> = None;

    /// As [`Middleware::validate`].
    fn validate(&self, findings: &mut Findings) {
        let _ = findings;
    }

    /// Acquires what the app needs and gives the service.
    ///
    /// # Errors
    ///
    /// As [`Middleware::layer`].
    fn app(self, context: &Context) -> Result<impl IntoApp>;
}
