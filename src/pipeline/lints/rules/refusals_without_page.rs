//! Error pages stand below layers that refuse requests.

use ziggurat_middleware::Behavior;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "refusals-without-page",
    harm: Harm::Lost,
    summary: "The layer with the error pages stands below a layer that refuses requests.",
    why: "A layer sees only the responses of the layers below. A refusal of a layer above `errors` reaches the client as it is, without the page of the site.

          Put `errors` above everything that refuses.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "rate_limit": "100/s" },
    { "errors": { "pages": { "5xx": "errors/oops.html" } } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "pages": { "5xx": "errors/oops.html" } }"#, Some(r#""100/s""#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "errors": { "pages": { "5xx": "errors/oops.html" } } },
    { "rate_limit": "100/s" }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The layer above refuses programs, which want no page.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(first) = way.first(|stage| stage.has(Behavior::ReplacesErrors)) else { continue };
        let Some(refuses) = way.above(first).iter().find(|stage| Stage::refuses(stage)) else { continue };
        let errors = &way.stages[first];
        hits.extend(Hit::at(errors, format!("refusals of `{}` do not get the pages of `{}`", refuses.name(), errors.name())).map(|hit| {
            let hit = hit.label("sees only responses of the layers below").with(refuses, "refuses requests");
            hit.hint(format!("move `{}` above `{}`", errors.name(), refuses.name())).fix(errors.moved_above(refuses))
        }));
    }
    hits
}
