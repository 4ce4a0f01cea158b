//! A cache stores pages that hold a nonce.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "cache-keeps-nonces",
    harm: Harm::Access,
    summary: "A cache stores pages that hold a nonce.",
    why: "A nonce is a secret of one response. With the cache above `csp_nonce`, everybody gets the stored nonce, and who knows it can smuggle a script that the browser runs. With the cache below, the header has
          a new nonce and the stored page the old one, and the browser runs none of its scripts.

          Put the layers on different routes, or have the app send `Cache-Control: private` or `no-store` with the pages that hold a nonce.",
    wrong: Example {
        text: r#"
{
  "layers": [
    "cache",
    { "csp_nonce": "script-src 'nonce-{nonce}'" }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""cache""#, Some(r#""script-src 'nonce-{nonce}'""#)),
        files: &[],
    },
    right: r#"
{
  "app": { "routes": [
    { "mount": "/feeds", "layers": ["cache"], "app": { "wsgi": "feeds:application" } },
    { "layers": [{ "csp_nonce": "script-src 'nonce-{nonce}'" }], "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
    allow: "The app sends `Cache-Control: private` or `no-store` with each page that holds a nonce.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let stores = |stage: &Stage<'_>| stage.has(Behavior::StoresResponses);
    let makes = |stage: &Stage<'_>| stage.does(&Effect::MakesNonces);
    let hint = "put them on different routes, or send `Cache-Control: private` with such pages";
    let above = site.pairs(stores, makes).filter_map(|(cache, nonce)| {
        let hit = Hit::at(cache, format!("`{}` stores the nonce of one response for everybody", cache.name()))?;
        Some(hit.label("stores pages and their headers").with(nonce, "makes a nonce for one response").hint(hint))
    });
    let below = site.pairs(makes, stores).filter_map(|(nonce, cache)| {
        let hit = Hit::at(cache, format!("no script of a page that `{}` has stored runs", cache.name()))?;
        Some(hit.label("stores pages with their nonce").with(nonce, "sends a new nonce with them").hint(hint))
    });
    above.chain(below).collect()
}
