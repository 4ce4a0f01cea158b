//! Everybody can see the figures of the site.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "figures-for-everyone",
    harm: Harm::Access,
    summary: "An app that shows figures of the site is open to everybody who reaches the server.",
    why: "Metrics show how busy the site is, which parts it has, and whether an attack works. A `host` in the route is no protection: every client chooses the `Host` that it sends.

          Let through only those who collect the figures: with `access`, with authentication, or with `client` in the route. Rules that let in everybody but a few, such as `{ \"allow\": \"all\" }`, keep
          nobody out.",
    wrong: Example {
        text: r#"
{
  "listen": "0.0.0.0:8000",
  "app": { "routes": [
    { "match": { "path": "/metrics" }, "app": { "metrics": {} } },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
        places: (r#"{}"#, Some(r#""0.0.0.0:8000""#)),
        files: &[],
    },
    right: r#"
{
  "listen": "0.0.0.0:8000",
  "app": { "routes": [
    {
      "match": { "path": "/metrics" },
      "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }],
      "app": { "metrics": {} }
    },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
    allow: "A firewall or a proxy in front lets nobody else come here.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let Some(listen) = site.public().next() else { return Vec::new() };
    let mut hits = Vec::new();
    for way in site.ways.iter().filter(|way| !way.asks_who()) {
        let Some(app) = way.stages.last().filter(|stage| stage.does(&Effect::ShowsFigures)) else { continue };
        hits.extend(Hit::at(app, format!("everybody can see what `{}` shows", app.name())).map(|hit| {
            let hit = hit.label("shows figures of the site").with_span(listen.span.clone(), "other machines connect here");
            hit.hint("put `{ \"access\": [{ \"allow\": \"10.0.0.0/8\" }] }` above it, with the addresses of those who collect the figures")
        }));
    }
    hits
}
