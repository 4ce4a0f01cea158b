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

fn bound(stage: &Stage<'_>) -> Option<u64> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::BoundsBody(octets) => Some(*octets),
        _ => None,
    })
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let pairs = site.pairs(|stage| bound(stage).is_some(), |stage| bound(stage).is_some()).filter_map(|(upper, lower)| {
        let (most, useless) = (bound(upper)?, bound(lower)?);
        if useless <= most {
            return None;
        }
        let (most, useless) = (Size(most), Size(useless));
        let hit = Hit::at(lower, format!("no body of {useless} comes here: `{}` above refuses those over {most}", upper.name()))?;
        let hit = hit.label(format!("lets {useless} through")).with(upper, format!("lets {most} through"));
        Some(hit.hint("raise the limit above, or give each route a limit of its own"))
    });
    pairs.collect()
}
