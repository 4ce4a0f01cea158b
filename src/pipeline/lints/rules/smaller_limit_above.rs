//! A limit on bodies has no effect, because a smaller one stands above.

use ziggurat_middleware::Effect;
use ziggurat_middleware::units::Size;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "smaller-limit-above",
    harm: Harm::Lost,
    summary: "A limit on request bodies stands below a smaller one.",
    why: "A request body has to pass both limits, so the smaller one decides. A route that allows larger uploads than the rest of the site cannot do so below the limit of the site.

          Raise the limit above, or give each route its own limit.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "body_limit": "1MiB" }],
  "app": { "routes": [
    {
      "match": { "path": "/upload/*" },
      "layers": [{ "body_limit": "100MiB" }],
      "app": { "wsgi": "mysite.wsgi:application" }
    },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
        places: (r#""100MiB""#, Some(r#""1MiB""#)),
        files: &[],
    },
    right: r#"
{
  "apps": { "site": { "wsgi": "mysite.wsgi:application" } },
  "app": { "routes": [
    {
      "match": { "path": "/upload/*" },
      "layers": [{ "body_limit": "100MiB" }],
      "app": "site"
    },
    { "layers": [{ "body_limit": "1MiB" }], "app": "site" }
  ] }
}"#,
    allow: "The limit below belongs to a part of the file that is used at other places, too.",
    is_fixed: false,
    check,
};

/// The most octets of a body that pass. A layer that decodes bodies bounds the decoded ones (`decoded`), which is what those below it get.
fn bound(stage: &Stage<'_>, decoded: bool) -> Option<u64> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::BoundsBody(octets) => Some(*octets),
        Effect::BoundsDecodedBody(octets) if decoded => Some(*octets),
        _ => None,
    })
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        for (at, lower) in way.stages.iter().enumerate() {
            let Some(useless) = bound(lower, false) else { continue };
            // Limits above a layer that decodes bodies count other octets.
            let decodes = way.above(at).iter().rposition(|stage| stage.does(&Effect::DecodesBody)).unwrap_or(0);
            for upper in &way.above(at)[decodes..] {
                let Some(most) = bound(upper, true).filter(|most| *most < useless) else { continue };
                let (most, useless) = (Size(most), Size(useless));
                let hit = Hit::at(lower, format!("no body of {useless} comes here: `{}` above refuses those over {most}", upper.name()));
                hits.extend(hit.map(|hit| {
                    let hit = hit.label(format!("lets {useless} through")).with(upper, format!("lets {most} through"));
                    hit.hint("raise the limit above, or give each route a limit of its own")
                }));
            }
        }
    }
    hits
}
