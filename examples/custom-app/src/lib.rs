//! The app `feature_flags` for Ziggurat, and the program that has it.

mod flags;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use ziggurat::prelude::*;

use crate::flags::Flags;

/// Keeps switches that the site asks for and its operators turn, while it runs.
///
/// `GET /` gives them all as JSON and `GET /NAME` one of them; `PUT /NAME` with `true` or `false` turns one. They outlive reloads, and restarts where
/// `saved_in` names a file. Put a layer above that lets in operators only.
///
/// ```json
/// { "app": { "feature_flags": { "flags": { "new_checkout": false }, "saved_in": "var/flags.json" } } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureFlags {
    /// Each flag, and how it stands until somebody turns it.
    flags: BTreeMap<String, bool>,
    /// Where they are written at shutdown, and read from at the start. By default nowhere.
    #[serde(default)]
    saved_in: Option<PathBuf>,
}

impl App for FeatureFlags {
    const NAME: &'static str = "feature_flags";

    fn validate(&self, findings: &mut Findings) {
        let is_sound = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        for name in self.flags.keys().filter(|name| !is_sound(name)) {
            let finding = Finding::new(format!("`{name}` is not a name for a flag")).at("flags").at(name.as_str());
            findings.push(finding.hint("use letters, digits, `_` and `-`"));
        }
        if self.flags.is_empty() {
            findings.push(Finding::new("there is no flag").at("flags").hint("write `\"flags\": { \"new_checkout\": false }`"));
        }
    }

    fn app(self, context: &Context) -> Result<impl IntoApp> {
        let file = self.saved_in.map(|file| context.resolve(file));
        // What a reload finds here is what the stack before it has kept.
        let flags = context.keep(Flags::default);
        flags.declare(self.flags, file.as_deref()).map_err(|finding| finding.at("saved_in"))?;

        let hook = Arc::clone(&flags);
        context.on_status(move || hook.to_json());
        if let Some(file) = file {
            let hook = Arc::clone(&flags);
            context.on_shutdown(move || hook.save(&file));
        }
        Ok(service_fn(move |request: Request| {
            let flags = Arc::clone(&flags);
            async move { Ok::<_, Infallible>(answer(&flags, request).await.unwrap_or_else(Problem::into_response)) }
        }))
    }
}

async fn answer(flags: &Flags, request: Request) -> Result<Response, Problem> {
    let name = request.uri().path().trim_start_matches('/').to_owned();
    match (request.method(), name.as_str()) {
        (&Method::GET | &Method::HEAD, "") => Ok(json(&flags.to_json())),
        (&Method::GET | &Method::HEAD, name) => Ok(json(&flags.get(name).ok_or_else(unknown)?.into())),
        (&Method::PUT, name) if flags.get(name).is_some() => {
            let turned = boolean(request.into_body()).await?;
            flags.turn(name, turned);
            Ok(json(&turned.into()))
        }
        (&Method::PUT, _) => Err(unknown()),
        _ => Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED).header(header::ALLOW, HeaderValue::from_static("GET, HEAD, PUT"))),
    }
}

/// The whole body as `true` or `false`; no longer one is read.
async fn boolean(body: Body) -> Result<bool, Problem> {
    let refuse = || Problem::new(StatusCode::BAD_REQUEST).detail("the body is `true` or `false`");
    let body = Limited::new(body, 16).collect().await.map_err(|error| refuse().because(error))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|_| refuse())
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND).detail("there is no such flag")
}

fn json(value: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(format!("{value}\n")));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Ziggurat with the apps of this crate.
pub fn program() -> Ziggurat {
    Ziggurat::new().app::<FeatureFlags>()
}
