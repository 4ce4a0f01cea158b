//! A probe of the site's health is refused.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "health-behind-guard",
    harm: Harm::Outage,
    summary: "The path that tells whether the site is well stands behind authentication, a limit or a switch that closes the site.",
    why: "A probe has no password, and it comes often. When it is refused, the balancer or the orchestrator takes the site for dead: it sends no more requests, or restarts it, exactly when it is busy. While the site is closed for maintenance,
          it restarts what was to stay up.

          Put the layer into the routes that need it, and leave the route of the probe without.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "basic_auth": { "users": ".htpasswd" } }],
  "app": { "routes": [
    { "match": { "path": "/healthz" }, "app": { "respond": 204 } },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
        places: (r#"{ "path": "/healthz" }"#, Some(r#"{ "users": ".htpasswd" }"#)),
        files: &[],
    },
    right: r#"
{
  "app": { "routes": [
    { "match": { "path": "/healthz" }, "app": { "respond": 204 } },
    { "layers": [{ "basic_auth": { "users": ".htpasswd" } }], "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
    allow: "The probe sends a password, or nothing depends on it.",
    is_fixed: false,
    check,
};

/// Where probes ask.
const PATHS: [&str; 12] =
    ["/healthz", "/health", "/livez", "/live", "/readyz", "/ready", "/ping", "/up", "/status", "/-/healthy", "/-/ready", "/_health"];

pub(super) fn refuses_probes(stage: &Stage<'_>) -> bool {
    let limits = stage.does(&Effect::CountsPerProcess) && !stage.does(&Effect::ExemptsClients);
    stage.has(Behavior::Authenticates) || stage.does(&Effect::ClosesSite) || limits
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(guard) = way.first(refuses_probes) else { continue };
        let guard = &way.stages[guard];
        for passed in way.routes.iter().filter(|passed| passed.is_written) {
            let mut paths = passed.route.condition.iter().flat_map(|condition| condition.value.exact_paths());
            let Some(path) = paths.find(|path| PATHS.contains(&path.trim_end_matches('/'))) else { continue };
            let hit = Hit::at_span(passed.route.span.clone(), format!("`{}` may refuse probes at `{path}`", guard.name()))
                .label("asked by probes");
            hits.push(hit.with(guard, "refuses requests").hint(format!("put `{}` into the other routes", guard.name())));
        }
    }
    hits
}
