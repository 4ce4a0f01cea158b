//! The preflight requests of CORS are refused, because the layer that answers them stands below authentication.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "preflight-refused",
    harm: Harm::Outage,
    summary: "The layer that answers preflight requests stands below authentication.",
    why: "Before a browser sends a request with credentials to another origin, it asks with an OPTIONS request that has none (a preflight). Authentication refuses that, so the browser never sends the \
          request itself. The page sees only that the call has failed.

          Put `cors` above authentication. Then refusals have its headers, too, and the page can read their status.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "basic_auth": { "users": ".htpasswd" } },
    { "cors": { "origins": "https://app.example.com", "credentials": true, "headers": "authorization" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (
            r#"{ "origins": "https://app.example.com", "credentials": true, "headers": "authorization" }"#,
            Some(r#"{ "users": ".htpasswd" }"#),
        ),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "cors": { "origins": "https://app.example.com", "credentials": true, "headers": "authorization" } },
    { "basic_auth": { "users": ".htpasswd" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "Only pages of browsers that are logged in at a proxy before make such calls.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let refuses = |stage: &Stage<'_>| stage.has(Behavior::Authenticates);
    let pairs = site.pairs(refuses, |stage| stage.does(&Effect::AnswersPreflights)).filter_map(|(auth, cors)| {
        let hit = Hit::at(cors, format!("`{}` refuses preflight requests before `{}` can answer them", auth.name(), cors.name()))?;
        let hit = hit.label("would answer preflights").with(auth, "refuses requests without credentials");
        Some(hit.hint(format!("move `{}` above `{}`", cors.name(), auth.name())).fix(cors.moved_above(auth)))
    });
    pairs.collect()
}
