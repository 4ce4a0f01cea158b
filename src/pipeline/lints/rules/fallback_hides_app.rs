//! A page for every path without a file hides what is below.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "fallback-hides-app",
    harm: Harm::Lost,
    summary: "A `static` layer answers every path with its `fallback`, so that no GET reaches what is below.",
    why: "With `fallback`, the entry page of a single-page app is the answer to every path without a file. As a layer at `/`, `static` then answers each GET and HEAD itself, also those for the API below.

          Make it the app of the last route, below the routes of the API.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "static": { "at": "/", "root": "dist", "fallback": "index.html" } }],
  "app": { "wsgi": "api:app" }
}"#,
        places: (r#""api:app""#, Some(r#"{ "at": "/", "root": "dist", "fallback": "index.html" }"#)),
        files: &[],
    },
    right: r#"
{
  "app": { "routes": [
    { "match": { "path": "/api/*" }, "app": { "wsgi": "api:app" } },
    { "app": { "static": { "root": "dist", "fallback": "index.html" } } }
  ] }
}"#,
    allow: "What is below is only sent POST requests and the like.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(app) = way.stages.last().filter(|stage| stage.is_app) else { continue };
        let hides = |effect: &Effect| matches!(effect, Effect::ServesFolder(folder) if folder.has_fallback && folder.at == "/");
        let layers = way.stages.iter().filter(|stage| !stage.is_app);
        for files in layers.filter(|stage| stage.effects.iter().any(hides)) {
            hits.extend(Hit::at(app, format!("no GET reaches `{}`: `{}` above answers each", app.name(), files.name())).map(|hit| {
                let hit = hit.label("hidden").with(files, "answers every path");
                hit.hint(format!("make `{}` the app of a last route, and put this one into a route before it", files.name()))
            }));
        }
    }
    hits
}
