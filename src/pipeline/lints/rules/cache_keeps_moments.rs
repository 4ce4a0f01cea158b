//! A cache stores what is true of one request only.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "cache-keeps-moments",
    harm: Harm::Lost,
    summary: "A cache stands above a layer that says something of one request, and stores it for others.",
    why: "A header such as the request id is part of the stored response. Later clients get the id of somebody else's request, and the log has no line with it.

          Put the cache below the layer: the header is then set on each response, also on a stored one.",
    wrong: Example {
        text: r#"
{
  "layers": [
    "cache",
    "request_id"
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""cache""#, Some(r#""request_id""#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    "request_id",
    "cache"
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The layer is to count only the requests that reach the app, and nobody reads its header.",
    is_fixed: true,
    check,
};

fn moment<'s>(stage: &'s Stage<'_>) -> Option<&'s http::HeaderName> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::SetsMoment(name) => Some(name),
        _ => None,
    })
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let pairs = site.pairs(|stage| stage.has(Behavior::StoresResponses), |stage| moment(stage).is_some());
    let hits = pairs.filter_map(|(cache, layer)| {
        let name = moment(layer)?;
        let hit = Hit::at(cache, format!("`{}` stores `{name}` for other requests", cache.name()))?;
        let hit = hit.label("stores the headers of responses").with(layer, format!("sets `{name}` for one request"));
        Some(hit.hint(format!("move it below `{}`", layer.name())).fix(cache.moved_below(layer)))
    });
    hits.collect()
}
