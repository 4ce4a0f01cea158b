//! Bodies are taken in before it is known whether the request is refused.

use ziggurat_middleware::Behavior;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "buffer-above-refusals",
    harm: Harm::Cost,
    summary: "A layer takes in whole request bodies above a layer that refuses requests.",
    why: "The body of a request is written to memory and disk before the layer below refuses the request. Whoever is not let in can still fill the disk up to its limit, and every refusal waits for the \
          end of the upload.

          Put `buffer` below everything that refuses, right above the app.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "buffer": "100MiB" },
    { "basic_auth": { "users": ".htpasswd" } }
  ],
  "app": { "proxy": "http://10.0.0.5:9000" }
}"#,
        places: (r#""100MiB""#, Some(r#"{ "users": ".htpasswd" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "basic_auth": { "users": ".htpasswd" } },
    { "buffer": "100MiB" }
  ],
  "app": { "proxy": "http://10.0.0.5:9000" }
}"#,
    allow: "The layer below has to see whole bodies.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let takes_in = |stage: &Stage<'_>| !stage.is_app && stage.has(Behavior::BuffersRequestBody);
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(first) = way.first(takes_in) else { continue };
        let buffer = &way.stages[first];
        let Some(last) = way.stages[first + 1..].iter().rfind(|stage| !stage.is_app && stage.refuses() && !takes_in(stage)) else {
            continue;
        };
        hits.extend(Hit::at(buffer, format!("`{}` takes in bodies that `{}` then refuses", buffer.name(), last.name())).map(|hit| {
            let hit = hit.label("takes in whole bodies").with(last, "refuses requests");
            hit.hint(format!("move `{}` below `{}`", buffer.name(), last.name())).fix(buffer.moved_below(last))
        }));
    }
    hits
}
