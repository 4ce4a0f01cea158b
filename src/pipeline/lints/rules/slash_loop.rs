//! One layer appends the slash at the end of a path, and another one removes it.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "slash-loop",
    harm: Harm::Outage,
    summary: "One layer redirects to the address with a slash at its end, and another one to the address without.",
    why:
        "A request meets both layers. Each of them sends the client to the address that the other one redirects, until the browser gives up.

          Decide for the whole site, or give each part of it a layer of its own.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "slash": "remove" }],
  "app": { "routes": [
    { "match": { "path": "/docs/*" }, "layers": [{ "slash": "append" }], "app": { "wsgi": "docs:app" } },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
        places: (r#""append""#, Some(r#""remove""#)),
        files: &[],
    },
    right: r#"
{
  "app": { "routes": [
    { "match": { "path": "/docs/*" }, "layers": [{ "slash": "append" }], "app": { "wsgi": "docs:app" } },
    { "layers": [{ "slash": "remove" }], "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
    allow: "The layers meet different methods, by their statuses.",
    is_fixed: false,
    check,
};

fn ends_with_slash(stage: &Stage<'_>) -> Option<bool> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::EndsPathsWithSlash(appends) => Some(*appends),
        _ => None,
    })
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let ends = |stage: &Stage<'_>| ends_with_slash(stage).is_some();
    let pairs = site.pairs(ends, ends).filter_map(|(upper, lower)| {
        let appends = ends_with_slash(lower)?;
        if ends_with_slash(upper)? == appends {
            return None;
        }
        let words = |appends: bool| if appends { "appends the slash" } else { "removes the slash" };
        let hit = Hit::at(lower, format!("`{}` {}, and `{}` above {}", lower.name(), words(appends), upper.name(), words(!appends)))?;
        Some(
            hit.label(words(appends))
                .with(upper, words(!appends))
                .hint("decide for one of them, or put each into the routes that it is for"),
        )
    });
    pairs.collect()
}
