//! Hints are sent before it is known whether the client may see the page.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "hints-above-auth",
    harm: Harm::Access,
    summary: "A layer sends hints above the layer that decides who may see a page.",
    why: "The `links` of `early_hints` leave at once, before the layers below decide. Whoever asks learns the addresses of the site's files, and browsers load them for a page that they do not get.

          Put `early_hints` below the layer that decides. Hints then wait for the check, which is short beside the app.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "early_hints": "</static/staff.css>; rel=preload; as=style" },
    { "basic_auth": { "users": ".htpasswd" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""</static/staff.css>; rel=preload; as=style""#, Some(r#"{ "users": ".htpasswd" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "basic_auth": { "users": ".htpasswd" } },
    { "early_hints": "</static/staff.css>; rel=preload; as=style" }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The links name what everybody may know, for instance what the page for signing in needs, too.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let hits = site.pairs(|stage| stage.does(&Effect::SendsLinks), Stage::asks_who).filter_map(|(hints, guard)| {
        let hit = Hit::at(hints, format!("`{}` sends its links before `{}` has decided", hints.name(), guard.name()))?;
        let hit = hit.label("sends links at once").with(guard, "decides who may see the page");
        Some(hit.hint(format!("move it below `{}`", guard.name())).fix(hints.moved_below(guard)))
    });
    hits.collect()
}
