//! Requests get their id below layers that refuse them.

use ziggurat_middleware::Behavior;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "refusals-without-id",
    harm: Harm::Log,
    summary: "Requests get their id below a layer that refuses some of them.",
    why: "A refused request never reaches the layer that gives it an id. Its log lines have none, and neither has the response, so a user who reports the refusal cannot say which one it was.

          Put `request_id` at the top.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "body_limit": "10MiB" },
    "request_id"
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""request_id""#, Some(r#""10MiB""#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    "request_id",
    { "body_limit": "10MiB" }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "Refusals are many and nobody asks about them.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(first) = way.first(|stage| stage.has(Behavior::AssignsRequestId)) else { continue };
        let Some(refuses) = way.above(first).iter().find(|stage| Stage::refuses(stage)) else { continue };
        let id = &way.stages[first];
        hits.extend(Hit::at(id, format!("what `{}` refuses has no id", refuses.name())).map(|hit| {
            let hit = hit.label("assigns the id").with(refuses, "refuses requests");
            hit.hint(format!("move `{}` above `{}`", id.name(), refuses.name())).fix(id.moved_above(refuses))
        }));
    }
    hits
}
