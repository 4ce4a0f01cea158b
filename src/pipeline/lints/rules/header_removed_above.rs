//! A header is removed above the layer that reads it.

use http::HeaderName;
use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::site::Way;
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
        Effect::RemovesRequestHeader(name) if !sets(stage, name) => Some(name),
        _ => None,
    })
}

/// Whether requests may have the header below this layer, whoever has sent it.
fn sets(stage: &Stage<'_>, name: &HeaderName) -> bool {
    stage.has(Behavior::RunsPython) || stage.does(&Effect::SetsRequestHeader(name.clone()))
}

/// Those headers that a layer removes and no layer below it sets, down to the stage with this index.
fn gone<'a>(way: &'a Way<'_>, remover: usize, end: usize) -> impl Iterator<Item = &'a HeaderName> {
    let between = &way.stages[remover + 1..end];
    removed(&way.stages[remover]).filter(move |name| !between.iter().any(|stage| sets(stage, name)))
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let removers = |end: usize| (0..end).map(move |remover| (remover, gone(way, remover, end)));
        for (at, reader) in way.stages.iter().enumerate() {
            for (remover, mut gone) in removers(at) {
                hits.extend(gone.find(|name| reads(reader, name)).and_then(|name| unseen(&way.stages[remover], reader, name)));
            }
        }
        for passed in way.routes.iter().filter(|passed| passed.is_written) {
            let read: Vec<&str> = passed.route.condition.iter().flat_map(|condition| condition.value.header_names()).collect();
            for (remover, mut gone) in removers(passed.stages) {
                let name = gone.find(|name| read.iter().any(|read| name.as_str().eq_ignore_ascii_case(read)));
                hits.extend(name.and_then(|name| {
                    let hit = Hit::at(&way.stages[remover], format!("no route sees the header `{name}`"))?.label("removes it");
                    Some(hit.with_span(passed.route.span.clone(), "asks for it").hint("remove it in a layer inside the routes"))
                }));
            }
        }
    }
    hits
}

/// Headers by which a proxy tells who the client is, and by which scheme it comes.
const CLAIMS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip"];

fn reads(reader: &Stage<'_>, name: &HeaderName) -> bool {
    // Without the others, the layer knows the client all the same.
    let is_claim = CLAIMS.contains(&name.as_str()) && reader.has(Behavior::TrustsProxies);
    is_claim || reader.does(&Effect::ReadsRequestHeader(name.clone()))
}

fn unseen(remover: &Stage<'_>, reader: &Stage<'_>, name: &HeaderName) -> Option<Hit> {
    let hit = Hit::at(remover, format!("`{}` never sees the header `{name}`", reader.name()))?.label("removes it").with(reader, "reads it");
    // What else the layer does may have its place here.
    let does_nothing_else = remover.effects.iter().all(|effect| matches!(effect, Effect::RemovesRequestHeader(_)));
    let fix = if does_nothing_else { remover.moved_below(reader) } else { None };
    Some(hit.hint(format!("remove it in a layer below `{}`", reader.name())).fix(fix))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::pipeline::Pipeline;

    #[test]
    fn a_header_that_is_set_again_above_the_route_is_not_gone() {
        let found = |layers: &str, asked: &str| {
            let text = format!(
                r#"{{ "layers": [{layers}], "app": {{ "routes": [{{ "match": {{ "header": {{ "x-k": {asked} }} }}, "app": {{ "respond": 204 }} }}, {{ "app": {{ "respond": 404 }} }}] }} }}"#
            );
            let pipeline = Pipeline::from_text("pipeline.json", &text, Path::new("/"), &crate::builtin(), &|_| None).unwrap();
            pipeline.warnings().diagnostics().iter().any(|finding| finding.id.as_str() == "header-removed-above")
        };
        const REMOVE: &str = r#"{ "headers": { "request": { "remove": "x-k" } } }"#;
        assert!(found(REMOVE, r#""1""#));
        assert!(found(&format!(r#"{REMOVE}, {{ "headers": {{ "request": {{ "set": {{ "x-other": "1" }} }} }} }}"#), r#""1""#));
        for layers in [
            r#"{ "headers": { "request": { "remove": "x-k", "set": { "x-k": "1" } } } }"#.to_owned(),
            r#"{ "headers": { "request": { "remove": "x-k", "append": { "x-k": "1" } } } }"#.to_owned(),
            format!(r#"{REMOVE}, {{ "headers": {{ "request": {{ "rename": {{ "x-j": "x-k" }} }} }} }}"#),
            format!(r#"{REMOVE}, {{ "forward_auth": {{ "to": "http://127.0.0.1:9091", "response_headers": ["x-k"] }} }}"#),
        ] {
            assert!(!found(&layers, r#""1""#), "{layers}");
        }
        // It asks for requests without the header.
        assert!(!found(REMOVE, "false"));
    }
}
