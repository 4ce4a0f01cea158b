//! Pages of an origin may call, and all their calls that change something are refused.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "csrf-refuses-cors",
    harm: Harm::Outage,
    summary: "A layer lets pages of an origin call, and another one refuses their calls.",
    why: "`cors` tells the browser that pages of an origin may call. The protection against cross-site requests knows nothing of that: to it, these pages are of another site, and every POST of theirs is refused with \
          403. Reading works, so the mistake is seen late.

          Name the same origins in both layers.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "cors": { "origins": "https://app.example.com", "credentials": true } },
    { "csrf": { "trust": [] } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "trust": [] }"#, Some(r#"{ "origins": "https://app.example.com", "credentials": true }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "cors": { "origins": "https://app.example.com", "credentials": true } },
    { "csrf": { "trust": "https://app.example.com" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "Pages of the origin only read.",
    is_fixed: false,
    check,
};

/// The origins whose pages may call; `Some(None)` for all.
fn called<'s>(stage: &'s Stage<'_>) -> Option<Option<&'s [String]>> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::LetsOriginsCall(origins) => Some(origins.as_deref()),
        _ => None,
    })
}

/// The only other origins whose pages may change something.
fn trusted<'s>(stage: &'s Stage<'_>) -> Option<&'s [String]> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::RefusesOtherOrigins(origins) => Some(origins.as_slice()),
        _ => None,
    })
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        for (cors, called) in way.stages.iter().filter_map(|stage| Some((stage, called(stage)?))) {
            for (csrf, trusted) in way.stages.iter().filter_map(|stage| Some((stage, trusted(stage)?))) {
                let refused = match called {
                    None => "all origins".to_owned(),
                    Some(called) => match called.iter().find(|origin| !trusted.contains(origin)) {
                        Some(origin) => format!("`{origin}`"),
                        None => continue,
                    },
                };
                let message = format!("`{}` lets pages of {refused} call, and `{}` refuses every POST of theirs", cors.name(), csrf.name());
                hits.extend(Hit::at(csrf, message).map(|hit| {
                    let hit = hit.label("refuses them").with(cors, "lets them call");
                    hit.hint("name the origins in both layers, or leave the one out where pages of other sites may call")
                }));
            }
        }
    }
    hits
}
