//! Preflight requests never reach the layer that answers them, because its route is for other methods.

use ziggurat_middleware::Effect;

use crate::apps::matching::{Condition, Match};
use crate::pipeline::fix::Fix;
use crate::pipeline::lints::site::Passed;
use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};
use crate::pipeline::tree::{Node, Value};

pub(super) const LINT: Lint = Lint {
    id: "preflight-without-route",
    harm: Harm::Outage,
    summary: "The layer that answers preflight requests stands in a route that takes no OPTIONS requests.",
    why: "A preflight is an OPTIONS request. A route with a `method` that leaves it out passes it on to the next route or answers 404, and the browser never sends the request itself.

          Add `OPTIONS` to `method`.",
    wrong: Example {
        text: r#"
{
  "app": { "routes": [
    { "match": { "path": "/api/*", "method": ["GET", "POST"] }, "layers": ["cors"], "app": { "wsgi": "api:app" } },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
        places: (r#""cors""#, Some(r#"{ "path": "/api/*", "method": ["GET", "POST"] }"#)),
        files: &[],
    },
    right: r#"
{
  "app": { "routes": [
    { "match": { "path": "/api/*", "method": ["GET", "POST", "OPTIONS"] }, "layers": ["cors"], "app": { "wsgi": "api:app" } },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
    allow: "Pages call with simple requests only, which need no preflight.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(cors) = way.first(|stage| stage.does(&Effect::AnswersPreflights)) else { continue };
        for passed in way.routes.iter().filter(|passed| passed.stages <= cors && passed.is_written) {
            let Some(condition) = passed.route.condition.as_ref().filter(|condition| condition.value.leaves_out_options()) else {
                continue;
            };
            if is_answered(site, passed, &condition.value) {
                continue;
            }
            let cors = &way.stages[cors];
            hits.extend(Hit::at(cors, format!("no preflight request reaches `{}`", cors.name())).map(|hit| {
                let hit = hit.label("would answer preflights").with_span(passed.route.span.clone(), "takes no OPTIONS");
                let method = condition.node.nearest(&["method".into()]);
                hit.hint("add `\"OPTIONS\"` to `method`").fix(with_options(method))
            }));
        }
    }
    hits
}

/// Whether another route beside this one takes its preflights to a layer that answers them.
fn is_answered(site: &Site<'_>, passed: &Passed<'_>, keys: &Match) -> bool {
    let Some(preflights) = keys.by_options() else { return false };
    let asked = Condition::new(Some(&preflights), passed.route.mount.as_ref().map(|mount| &mount.value));
    let Some(other) = passed.table.routes.iter().find(|route| route.is_enabled() && route.asked().covers(&asked)) else { return false };
    site.ways.iter().any(|way| {
        let mut routes = way.routes.iter();
        let leads = routes.any(|passed| std::ptr::eq(passed.route, other));
        leads && way.first(|stage| stage.does(&Effect::AnswersPreflights)).is_some()
    })
}

/// The methods and OPTIONS.
fn with_options(method: &Node) -> Option<Fix> {
    let text = |node: &Node| match &node.value {
        Value::String(text) if node.expanded.is_none() => Some(format!("\"{text}\"")),
        _ => None,
    };
    let methods = match &method.value {
        Value::Array(items) => items.iter().map(text).collect::<Option<Vec<_>>>()?,
        _ => vec![text(method)?],
    };
    Some(Fix::Replace { value: method.span.clone(), with: format!("[{}, \"OPTIONS\"]", methods.join(", ")) })
}
