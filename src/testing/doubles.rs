//! Native layers and apps in place of Python ones, with the same options and the same checks.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use ziggurat_middleware::{App, Behavior, Context, Explain, Finding, Findings, IntoApp, IntoStage, Middleware, Next, Place, Result};

use crate::pipeline::Service;
use crate::wsgi::{Wsgi, WsgiLayer};

/// The replacements of a test, by the names that the file uses.
#[derive(Debug, Default)]
pub(super) struct Doubles {
    pub(super) apps: HashMap<String, Service>,
    pub(super) layers: HashMap<String, Stage>,
}

/// In place of a WSGI app.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct AppDouble(Wsgi);

impl App for AppDouble {
    const NAME: &'static str = Wsgi::NAME;
    const SHORTHAND: Option<&'static str> = Wsgi::SHORTHAND;
    const BEHAVIOR: &'static [Behavior] = Wsgi::BEHAVIOR;

    fn validate(&self, findings: &mut Findings) {
        self.0.validate(findings);
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        self.0.explain(explain)
    }

    fn app(self, context: &Context) -> Result<impl IntoApp> {
        let name = self.0.name();
        let double = context.host::<Arc<Doubles>>().and_then(|doubles| doubles.apps.get(name));
        double.map(|double| double.at(context.place())).ok_or_else(|| {
            Finding::new(format!("no closure replaces `{name}`"))
                .at("app")
                .hint(format!("add one to the test: `.wsgi(\"{name}\", async |request| ...)`"))
        })
    }
}

/// In place of a Python middleware.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct LayerDouble(WsgiLayer);

impl Middleware for LayerDouble {
    const NAME: &'static str = Wsgi::NAME;
    const SHORTHAND: Option<&'static str> = WsgiLayer::SHORTHAND;
    const BEHAVIOR: &'static [Behavior] = Wsgi::BEHAVIOR;

    fn validate(&self, findings: &mut Findings) {
        self.0.validate(findings);
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        self.0.tell(explain);
        Ok(())
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let name = self.0.target();
        let double = context.host::<Arc<Doubles>>().and_then(|doubles| doubles.layers.get(name));
        double.cloned().ok_or_else(|| {
            Finding::new(format!("no layer replaces `{name}`"))
                .at("middleware")
                .hint(format!("add one to the test: `.wsgi_layer(\"{name}\", from_fn((), async |(), request, next| ...))`"))
        })
    }
}

/// A stage that any number of places share.
#[derive(Clone)]
pub(super) struct Stage(Arc<Put>);

/// Puts it over the rest of a stack, at a place.
type Put = dyn Fn(&Place, Next) -> Next + Send + Sync;

impl Stage {
    pub(super) fn new(stage: impl IntoStage + Clone + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |place, inner| stage.clone().stage(place, inner)))
    }
}

impl IntoStage for Stage {
    fn stage(self, place: &Place, inner: Next) -> Next {
        (self.0)(place, inner)
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stage")
    }
}
