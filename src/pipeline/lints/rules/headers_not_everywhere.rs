//! One route has security headers, and another one of the same kind has none.

use http::{HeaderName, header};
use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "headers-not-everywhere",
    harm: Harm::Access,
    summary: "A route adds security headers, and another route to the same kind of app has none.",
    why: "The headers protect the responses of their route alone. An attacker uses the page that has none: in a frame, or as a file whose type the browser guesses. Both have the same origin, so what runs \
          on one page can read the other.

          Put `security_headers` above the routes.",
    wrong: Example {
        text: r#"
{
  "app": { "routes": [
    { "match": { "path": "/shop/*" }, "layers": ["security_headers"], "app": { "wsgi": "shop:app" } },
    { "match": { "path": "/blog/*" }, "app": { "wsgi": "blog:app" } }
  ] }
}"#,
        places: (r#""security_headers""#, Some(r#"{ "path": "/blog/*" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": ["security_headers"],
  "app": { "routes": [
    { "match": { "path": "/shop/*" }, "app": { "wsgi": "shop:app" } },
    { "match": { "path": "/blog/*" }, "app": { "wsgi": "blog:app" } }
  ] }
}"#,
    allow: "The app of the other route sends such headers itself.",
    is_fixed: false,
    check,
};

/// The headers that are the same for all pages of a site.
const SECURITY: [HeaderName; 2] = [header::X_CONTENT_TYPE_OPTIONS, header::X_FRAME_OPTIONS];

pub(super) fn secures(stage: &Stage<'_>) -> bool {
    SECURITY.iter().any(|name| stage.does(&Effect::AddsHeader(name.clone())) || stage.does(&Effect::SetsHeader(name.clone())))
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some((first, app)) = way.first(secures).zip(way.stages.last()) else { continue };
        let layer = &way.stages[first];
        let Some(passed) = way.routes.iter().rfind(|passed| passed.stages <= first) else { continue };
        let bare = site.ways.iter().filter(|other| !other.stages.iter().any(secures)).find_map(|other| {
            let sibling = other.routes.iter().find(|sibling| std::ptr::eq(sibling.table, passed.table) && sibling.is_written)?;
            other.stages.last().filter(|bare| bare.is_app && bare.name() == app.name()).map(|_| sibling.route)
        });
        let Some(bare) = bare else { continue };
        hits.extend(Hit::at(layer, format!("`{}` is about this route alone", layer.name())).map(|hit| {
            let hit = hit.label("adds security headers").with_span(bare.span.clone(), "has none, with the same origin");
            hit.hint(format!("move `{}` into the `layers` above the routes", layer.name()))
        }));
    }
    hits
}
