//! A header is removed above the layer that reads it.

use http::HeaderName;
use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "header-removed-above",
    harm: Harm::Lost,
    summary: "A layer removes a request header above a layer or a route that reads it.",
    why: "The layer below never sees the header. Authentication refuses everybody, a limit counts by client, and a route does not match.

          Put the layer that removes the header below.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "headers": { "request": { "remove": ["authorization"] } } },
    { "basic_auth": { "users": ".htpasswd" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "request": { "remove": ["authorization"] } }"#, Some(r#"{ "users": ".htpasswd" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "basic_auth": { "users": ".htpasswd" } },
    { "headers": { "request": { "remove": ["authorization"] } } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The layer below is meant to work without the header.",
    is_fixed: true,
    check,
};

fn removed<'a>(stage: &'a Stage<'_>) -> impl Iterator<Item = &'a HeaderName> {
    stage.effects.iter().filter_map(|effect| match effect {
        Effect::RemovesRequestHeader(name) => Some(name),
        _ => None,
    })
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let pairs = site.pairs(|stage| removed(stage).next().is_some(), |_| true);
    let mut hits: Vec<Hit> = pairs
        .filter_map(|(remover, reader)| {
            let reads = |name: &&HeaderName| {
                let is_claim = ziggurat_middleware::forwarded::is_claim(name) && reader.has(Behavior::TrustsProxies);
                is_claim || reader.does(&Effect::ReadsRequestHeader((*name).clone()))
            };
            let name = removed(remover).find(reads)?;
            let hit = Hit::at(remover, format!("`{}` never sees the header `{name}`", reader.name()))?
                .label("removes it")
                .with(reader, "reads it");
            // What else the layer does may have its place here.
            let does_nothing_else = remover.effects.iter().all(|effect| matches!(effect, Effect::RemovesRequestHeader(_)));
            let fix = if does_nothing_else { remover.moved_below(reader) } else { None };
            Some(hit.hint(format!("remove it in a layer below `{}`", reader.name())).fix(fix))
        })
        .collect();
    for way in &site.ways {
        for passed in way.routes.iter().filter(|passed| passed.is_written) {
            let read: Vec<&str> = passed.route.condition.iter().flat_map(|condition| condition.value.header_names()).collect();
            for remover in way.above(passed.stages) {
                let name = removed(remover).find(|name| read.iter().any(|read| name.as_str().eq_ignore_ascii_case(read)));
                hits.extend(name.and_then(|name| {
                    let hit = Hit::at(remover, format!("no route sees the header `{name}`"))?.label("removes it");
                    Some(hit.with_span(passed.route.span.clone(), "asks for it").hint("remove it in a layer inside the routes"))
                }));
            }
        }
    }
    hits
}
