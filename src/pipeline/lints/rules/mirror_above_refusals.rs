//! Requests are copied before it is known whether the site takes them.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "mirror-above-refusals",
    harm: Harm::Cost,
    summary: "A layer copies requests to another server above a layer that refuses requests.",
    why: "The other server gets what the site refuses: floods, guessed passwords, requests that are too large. It has to guard itself, and what it shows differs from what the site does.

          Put `mirror` below everything that refuses.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "mirror": "http://10.0.0.6:8000" },
    { "basic_auth": { "users": ".htpasswd" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""http://10.0.0.6:8000""#, Some(r#"{ "users": ".htpasswd" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "basic_auth": { "users": ".htpasswd" } },
    { "mirror": "http://10.0.0.6:8000" }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The other server is to see all requests, for instance to try out another limit.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(first) = way.first(|stage| stage.does(&Effect::MirrorsRequests)) else { continue };
        let mirror = &way.stages[first];
        // What takes in bodies refuses them for their length alone.
        let refuses = |stage: &Stage<'_>| !stage.is_app && stage.refuses() && !stage.has(Behavior::BuffersRequestBody);
        let Some(last) = way.stages[first + 1..].iter().rfind(|stage| refuses(stage)) else { continue };
        hits.extend(Hit::at(mirror, format!("`{}` copies requests that `{}` then refuses", mirror.name(), last.name())).map(|hit| {
            let hit = hit.label("copies requests").with(last, "refuses requests");
            hit.hint(format!("move `{}` below `{}`", mirror.name(), last.name())).fix(mirror.moved_below(last))
        }));
    }
    hits
}
