//! Passwords can be guessed without limit, because the limit stands below the layer that checks them.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "limit-below-auth",
    harm: Harm::Access,
    summary: "A limit on requests stands below the layer that checks passwords.",
    why: "A request with a wrong password is answered by the layer that checks it, and never reaches the limit below. So guesses are not limited, and each costs the time of a check.

          Put the limit above. A limit by `user` belongs below, because it has to know the user; have both.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "basic_auth": { "users": ".htpasswd" } },
    { "rate_limit": "10/min" }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""10/min""#, Some(r#"{ "users": ".htpasswd" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "rate_limit": "10/min" },
    { "basic_auth": { "users": ".htpasswd" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "Something in front of the server limits guesses, or the limit is meant for known users and guesses are no danger.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(auth) = way.first(|stage| stage.does(&Effect::TakesPasswords)) else { continue };
        let Some(limit) = way.first(|stage| stage.does(&Effect::LimitsRate)).filter(|limit| *limit > auth) else { continue };
        let (auth, limit) = (&way.stages[auth], &way.stages[limit]);
        hits.extend(Hit::at(limit, format!("`{}` does not limit guesses of passwords", limit.name())).map(|hit| {
            let hit = hit.label("sees only requests with a right password").with(auth, "answers wrong passwords itself");
            hit.hint(format!("move `{}` above `{}`", limit.name(), auth.name())).fix(limit.moved_above(auth))
        }));
    }
    hits
}
