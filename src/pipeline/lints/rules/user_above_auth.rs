//! A layer that counts by user stands above the layer that finds out who the user is.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "user-above-auth",
    harm: Harm::Lost,
    summary: "A layer counts by user, above the layer that determines the user.",
    why: "Above authentication, no request has a user yet. The layer counts by client instead, so a user with two addresses has the limit twice, and all users behind one address share it.

          Put it right below the layer that authenticates.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "rate_limit": { "allow": "100/min", "per": "user" } },
    { "basic_auth": { "users": ".htpasswd" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "allow": "100/min", "per": "user" }"#, Some(r#"{ "users": ".htpasswd" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "basic_auth": { "users": ".htpasswd" } },
    { "rate_limit": { "allow": "100/min", "per": "user" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "Never: count by `client` where that is meant.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let finds_out = |stage: &Stage<'_>| stage.has(Behavior::Authenticates);
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(first) = way.first(finds_out) else { continue };
        let auth = &way.stages[first];
        for stage in way.above(first).iter().filter(|stage| stage.does(&Effect::NeedsUser)) {
            hits.extend(Hit::at(stage, format!("`{}` counts by user, and no user is known yet", stage.name())).map(|hit| {
                let hit = hit.label("counts by client instead").with(auth, "determines the user");
                hit.hint(format!("move it below `{}`", auth.name())).fix(stage.moved_below(auth))
            }));
        }
    }
    hits
}
