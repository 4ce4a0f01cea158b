//! A layer that believes proxies believes none.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "forwarded-trusts-nobody",
    harm: Harm::Lost,
    summary: "`forwarded` names no proxy that it trusts.",
    why: "Without `trust` or `proxies`, the layer trusts nobody. What proxies say is removed, as it is without the layer: the client stays the proxy, and the scheme stays http.

          Name the proxies in `trust`. Without a proxy in front, remove the layer.",
    wrong: Example {
        text: r#"
{
  "layers": ["forwarded", "access_log"],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""forwarded""#, None),
        files: &[],
    },
    right: r#"
{
  "layers": [{ "forwarded": { "trust": "10.0.0.0/8" } }, "access_log"],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The file is a template in which the proxies are filled in later.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let hits = site.stages().filter(|stage| stage.does(&Effect::TrustsNobody)).filter_map(|stage| {
        let hit = Hit::at(stage, format!("`{}` trusts no proxy, so it changes nothing", stage.name()))?.label("believes nobody");
        Some(hit.hint("name the addresses of the proxies, as in `{ \"trust\": \"10.0.0.0/8\" }`, or remove the layer"))
    });
    hits.collect()
}
