//! A redirect leads back to its own route.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::site::Way;
use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "redirect-loop",
    harm: Harm::Outage,
    summary: "A redirect sends the client to an address that has the same redirect.",
    why: "The browser follows the redirect, gets the same one again, and gives up after some twenty of them.

          Give the route a condition that the new address does not fulfil. To move a site to https, that is `\"scheme\": \"http\"`.",
    wrong: Example {
        text: r#"
{
  "listen": [":80", { "at": ":443", "tls": { "cert": "tls/site.crt", "key": "tls/site.key" } }],
  "app": { "routes": [
    { "match": { "host": "example.com" }, "app": { "redirect": "https://{host}{path}{query}" } },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
        places: (r#""https://{host}{path}{query}""#, Some(r#"{ "host": "example.com" }"#)),
        files: &[],
    },
    right: r#"
{
  "listen": [":80", { "at": ":443", "tls": { "cert": "tls/site.crt", "key": "tls/site.key" } }],
  "app": { "routes": [
    { "match": { "scheme": "http" }, "app": { "redirect": "https://{host}{path}{query}" } },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
    allow: "Something in front answers the new address.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(app) = way.stages.last() else { continue };
        let target = app.effects.iter().find_map(|effect| match effect {
            Effect::RedirectsTo(target) => Some(target.as_str()),
            _ => None,
        });
        let Some(target) = target.filter(|target| leads_back(site, way, target)) else { continue };
        hits.extend(Hit::at(app, format!("`{target}` leads back to this redirect")).map(|hit| {
            let hit = hit.label("sends the client here again").hint("give the route a condition that the new address does not fulfil");
            match way.routes.last() {
                Some(passed) => hit.with_span(passed.route.span.clone(), "holds for the new address, too"),
                None => hit,
            }
        }));
    }
    hits
}

fn leads_back(site: &Site<'_>, way: &Way<'_>, target: &str) -> bool {
    let is_moved =
        way.routes.iter().any(|passed| passed.route.mount.is_some()) || way.stages.iter().any(|stage| stage.has(Behavior::RewritesPath));
    if is_moved {
        return false;
    }
    if let Some(rest) = target.strip_prefix("https://{host}") {
        let knows_https =
            site.file.listen.iter().any(|entry| entry.tls.is_some()) || way.stages.iter().any(|stage| stage.has(Behavior::TrustsProxies));
        return rest.starts_with("{path}") && knows_https && !way.asks_for_http();
    }
    let path = target.split('?').next().unwrap_or_default();
    path.starts_with('/')
        && !path.contains('{')
        && way.routes.iter().all(|passed| {
            let holds =
                passed.route.condition.as_ref().is_none_or(|keys| keys.value.holds_for_path(path) && keys.value.holds_after_redirect());
            let earlier = &passed.table.routes[..passed.nth];
            let is_taken = earlier.iter().filter(|route| route.is_enabled()).any(|route| {
                let is_mounted = route.mount.as_ref().is_some_and(|mount| mount.value.holds(path.as_bytes()));
                is_mounted || route.condition.as_ref().is_some_and(|keys| keys.value.has_path() && keys.value.holds_for_path(path))
            });
            holds && !is_taken
        })
}
