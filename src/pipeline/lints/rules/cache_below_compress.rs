//! Stored responses are compressed again for each client.

use ziggurat_middleware::Behavior;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "cache-below-compress",
    harm: Harm::Cost,
    summary: "A cache stands below the layer that compresses, so each hit is compressed anew.",
    why: "The cache stores the plain page. Compressing it takes many times as long as finding it.

          Put the cache above `compress`. It then stores one compressed page for each encoding that clients accept.",
    wrong: Example {
        text: r#"
{
  "layers": [
    "compress",
    "cache"
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""cache""#, Some(r#""compress""#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    "cache",
    "compress"
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "A layer between the two changes pages for each client, or memory is scarcer than time.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let encodes = |stage: &Stage<'_>| stage.has(Behavior::EncodesResponseBody);
    let hits = site.pairs(encodes, |stage| stage.has(Behavior::StoresResponses)).filter_map(|(encoder, cache)| {
        let hit = Hit::at(cache, format!("each page that `{}` has stored is encoded anew", cache.name()))?;
        let hit = hit.label("stores plain pages").with(encoder, "encodes each response");
        Some(hit.hint(format!("move it above `{}`", encoder.name())).fix(cache.moved_above(encoder)))
    });
    hits.collect()
}
