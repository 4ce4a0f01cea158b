//! `headers`: sets, appends and removes headers of requests and responses.

use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::{HeaderKey, HeaderText};
use crate::{Context, Finding, IntoStage, Middleware, Next, Request, from_fn};

/// Sets, appends and removes headers of requests and responses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Headers {
    /// Changes to the request before it goes further in.
    request: Changes,
    /// Changes to the response on its way out.
    response: Changes,
}

/// Changes to one message, in this order: remove, set, append.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Changes {
    /// Headers to take away.
    remove: Vec<HeaderKey>,
    /// Headers to put in place of any of the same name.
    set: std::collections::BTreeMap<String, HeaderText>,
    /// Headers to add beside any of the same name.
    append: std::collections::BTreeMap<String, HeaderText>,
}

impl Middleware for Headers {
    const NAME: &'static str = "headers";

    fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
        let changes = std::sync::Arc::new(self);
        Ok(from_fn(changes, async |changes: std::sync::Arc<Self>, mut request: Request, next: Next| {
            changes.request.apply(request.headers_mut());
            let mut response = next.run(request).await;
            changes.response.apply(response.headers_mut());
            response
        }))
    }
}

impl Changes {
    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(&name.0);
        }
        for (name, value) in &self.set {
            if let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) {
                headers.insert(name, value.0.clone());
            }
        }
        for (name, value) in &self.append {
            if let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) {
                headers.append(name, value.0.clone());
            }
        }
    }
}
