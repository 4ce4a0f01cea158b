//! A cache stands above the layer that decides who may see a page.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "cache-above-auth",
    harm: Harm::Access,
    summary: "A cache stands above the layer that decides who may see a page.",
    why: "What the cache has stored it answers itself, and the layer below is not asked. A page that one client was let in for goes to everybody who knows its URL.

          Put the cache below. Pages for everybody then cost the check, which is cheap beside the app.",
    wrong: Example {
        text: r#"
{
  "layers": [
    "cache",
    { "access": [{ "allow": "10.0.0.0/8" }] }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""cache""#, Some(r#"[{ "allow": "10.0.0.0/8" }]"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "access": [{ "allow": "10.0.0.0/8" }] },
    "cache"
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "Every response that the app lets caches store is meant for everybody, also for those whom the layer refuses.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let guards = |stage: &Stage<'_>| stage.has(Behavior::Authenticates) || stage.does(&Effect::AdmitsClients) && stage.refuses();
    let hits = site.pairs(|stage| stage.has(Behavior::StoresResponses), guards).filter_map(|(cache, guard)| {
        let hit = Hit::at(cache, format!("`{}` answers without asking `{}`", cache.name(), guard.name()))?;
        let hit = hit.label("stores pages for everybody").with(guard, "decides who may see them");
        Some(hit.hint(format!("move it below `{}`", guard.name())).fix(cache.moved_below(guard)))
    });
    hits.collect()
}
