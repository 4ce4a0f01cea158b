//! The challenge of an authority is refused, so no certificate can be had.

use super::health_behind_guard::refuses_probes;
use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "acme-behind-guard",
    harm: Harm::Outage,
    summary: "The path of ACME's challenges stands behind authentication, a limit or a rule by address.",
    why: "An authority asks for `/.well-known/acme-challenge/` without a password, and from addresses that it does not publish. When it is refused, the certificate is not renewed, and the site goes down \
          when it expires.

          Put the layer into the other routes. The `acme` of `listen` answers challenges before any layer, so it needs no route.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }],
  "app": { "routes": [
    { "match": { "path": "/.well-known/acme-challenge/*" }, "app": { "proxy": "http://127.0.0.1:8402" } },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
        places: (r#"{ "path": "/.well-known/acme-challenge/*" }"#, Some(r#"[{ "allow": "10.0.0.0/8" }]"#)),
        files: &[],
    },
    right: r#"
{
  "app": { "routes": [
    { "match": { "path": "/.well-known/acme-challenge/*" }, "app": { "proxy": "http://127.0.0.1:8402" } },
    { "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
    allow: "The authority is your own, and the layer lets it through.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let refuses = |stage: &Stage<'_>| refuses_probes(stage) || stage.asks_who();
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(guard) = way.first(refuses) else { continue };
        let guard = &way.stages[guard];
        for passed in way.routes.iter().filter(|passed| passed.is_written) {
            let mut paths = passed.route.condition.iter().flat_map(|condition| condition.value.path_texts());
            if paths.any(|path| path.starts_with("/.well-known/acme-challenge")) {
                let hit = Hit::at_span(passed.route.span.clone(), format!("`{}` may refuse the challenges of authorities", guard.name()));
                let hit = hit.label("asked by authorities").with(guard, "refuses requests");
                hits.push(hit.hint(format!("put `{}` into the other routes", guard.name())));
            }
        }
    }
    hits
}
