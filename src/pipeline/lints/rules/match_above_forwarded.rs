//! A route asks for the client or the scheme above the layer that finds them out.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "match-above-forwarded",
    harm: Harm::Access,
    summary: "A route asks for `client` or `scheme`, and the layer that determines them stands inside the route or a later one.",
    why:
        "The route is chosen before `forwarded` has said who the client is, so `client` is the proxy and `scheme` is http for every request.

          Put `forwarded` above the routes.",
    wrong: Example {
        text: r#"
{
  "app": { "routes": [
    {
      "match": { "client": "192.0.2.0/24" },
      "layers": [{ "forwarded": { "trust": "10.0.0.0/8" } }],
      "app": { "wsgi": "staff:app" }
    },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
        places: (r#"{ "client": "192.0.2.0/24" }"#, Some(r#"{ "trust": "10.0.0.0/8" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [{ "forwarded": { "trust": "10.0.0.0/8" } }],
  "app": { "routes": [
    { "match": { "client": "192.0.2.0/24" }, "app": { "wsgi": "staff:app" } },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
    allow: "The route is meant for the proxies themselves.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    // Without TLS, and without front servers, every connection is http.
    let is_http = site.file.listen.iter().all(|entry| entry.tls.is_none()) && site.gateways().next().is_none();
    for way in &site.ways {
        let Some(first) = way.first(|stage| stage.has(Behavior::TrustsProxies) && !stage.does(&Effect::TrustsNobody)) else { continue };
        let forwarded = &way.stages[first];
        for passed in way.routes.iter().filter(|passed| passed.stages <= first && passed.is_written) {
            for earlier in passed.table.routes[..passed.nth].iter().filter(|earlier| is_http && earlier.is_enabled()) {
                if earlier.condition.as_ref().is_some_and(|condition| condition.value.asks_for_http() || condition.value.asks_for_https()) {
                    let hit = Hit::at_span(earlier.span.clone(), "this route takes the scheme of the proxy for that of the client");
                    let hit = hit.label("is decided first").with(forwarded, "finds out the scheme");
                    hits.push(hit.hint(format!("move `{}` into the `layers` above the routes", forwarded.name())));
                }
            }
            if passed.route.condition.as_ref().is_some_and(|condition| condition.value.asks_for_connection()) {
                let hit = Hit::at_span(passed.route.span.clone(), "this route takes the proxy for the client");
                let hit = hit.label("is decided first").with(forwarded, "finds out who the client is");
                hits.push(hit.hint(format!("move `{}` into the `layers` above the routes", forwarded.name())));
            }
        }
    }
    hits
}
