//! Error pages stand below layers that refuse requests.

use http::StatusCode;
use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "refusals-without-page",
    harm: Harm::Lost,
    summary: "The layer with the error pages stands below a layer that refuses requests, or gives them up, with a status that has a page.",
    why: "A layer sees only the responses of the layers below. A refusal of a layer above `errors`, and the 504 of a `timeout` above it, reach the client as they are, without the page of the site.

          Put `errors` above everything that refuses, and above `timeout`.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "rate_limit": "100/s" },
    { "errors": { "pages": { "4xx": "errors/refused.html" } } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "pages": { "4xx": "errors/refused.html" } }"#, Some(r#""100/s""#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "errors": { "pages": { "4xx": "errors/refused.html" } } },
    { "rate_limit": "100/s" }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The layer above refuses programs, which want no page.",
    is_fixed: true,
    check,
};

/// Whether a layer above answers with a status that these pages are for, by itself.
fn misses(pages: &Stage<'_>, above: &Stage<'_>) -> bool {
    let gives = |stage: &Stage<'_>, status: StatusCode| {
        stage.effects.iter().any(|effect| matches!(effect, Effect::GivesPages(statuses) if statuses.contains(&status.as_u16())))
    };
    let has_page = |status: StatusCode| gives(pages, status) && !gives(above, status);
    let refuses = |effect: &Effect| matches!(effect, Effect::RefusesWith(status) if has_page(*status));
    above.effects.iter().any(refuses) || above.has(Behavior::BoundsTime) && has_page(StatusCode::GATEWAY_TIMEOUT)
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(first) = way.first(|stage| stage.has(Behavior::ReplacesErrors)) else { continue };
        let errors = &way.stages[first];
        let Some(above) = way.above(first).iter().find(|stage| misses(errors, stage)) else { continue };
        let (hit, label) = match above.has(Behavior::BoundsTime) {
            true => (format!("what `{}` gives up does not get the pages of `{}`", above.name(), errors.name()), "answers 504 itself"),
            false => (format!("refusals of `{}` do not get the pages of `{}`", above.name(), errors.name()), "refuses requests"),
        };
        hits.extend(Hit::at(errors, hit).map(|hit| {
            let hit = hit.label("sees only responses of the layers below").with(above, label);
            hit.hint(format!("move `{}` above `{}`", errors.name(), above.name())).fix(errors.moved_above(above))
        }));
    }
    hits
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::pipeline::Pipeline;

    fn is_found(layer: &str, pages: &str) -> bool {
        let text = format!(
            r#"{{ "layers": [{layer}, {{ "errors": {{ "pages": {{ "{pages}": "page.html" }} }} }}], "app": {{ "respond": 204 }} }}"#
        );
        let pipeline = Pipeline::from_text("pipeline.json", &text, Path::new("/"), &crate::builtin(), &|_| None).unwrap();
        pipeline.warnings().diagnostics().iter().any(|finding| finding.id.as_str() == "refusals-without-page")
    }

    #[test]
    fn only_errors_that_have_a_page_miss_it() {
        for (layer, pages) in [
            (r#"{ "rate_limit": "100/s" }"#, "429"),
            (r#"{ "limit": 100 }"#, "5xx"),
            (r#"{ "timeout": "30s" }"#, "504"),
            (r#""timeout""#, "5xx"),
            (r#"{ "access": [{ "deny": "10.0.0.7" }, { "allow": "all" }] }"#, "403"),
        ] {
            assert!(is_found(layer, pages), "{layer} {pages}");
        }
        for (layer, pages) in [
            (r#"{ "rate_limit": "100/s" }"#, "5xx"),
            (r#"{ "rate_limit": { "allow": "100/s", "dry_run": true } }"#, "4xx"),
            (r#"{ "timeout": "30s" }"#, "404"),
            (r#"{ "cors": "https://a.example" }"#, "4xx"),
            (r#"{ "slash": "remove" }"#, "4xx"),
            (r#""cache""#, "5xx"),
            (r#"{ "access": [{ "allow": "all" }] }"#, "403"),
            (r#"{ "maintenance": { "file": "closed", "page": "closed.html" } }"#, "503"),
        ] {
            assert!(!is_found(layer, pages), "{layer} {pages}");
        }
    }
}
