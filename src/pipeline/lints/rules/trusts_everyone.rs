//! Every client is believed, on an address that everybody reaches.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "trusts-everyone",
    harm: Harm::Access,
    summary: "`forwarded` trusts every address, and other machines reach the server.",
    why: "`0.0.0.0/0` and `::/0` are all addresses. Every client then says itself who it is: it passes rules by address, has a limit of its own for each request, and appears in the log under any \
          address.

          Name the addresses of the proxies. Where they are not known, as behind the routers of a platform, say with `proxies` how many there are, and make sure that clients reach the server through \
          them alone.",
    wrong: Example {
        text: r#"
{
  "listen": "0.0.0.0:8000",
  "layers": [{ "forwarded": { "trust": "0.0.0.0/0" } }],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "trust": "0.0.0.0/0" }"#, Some(r#""0.0.0.0:8000""#)),
        files: &[],
    },
    right: r#"
{
  "listen": "0.0.0.0:8000",
  "layers": [{ "forwarded": { "trust": "10.0.0.0/8" } }],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "A firewall lets only the proxies connect.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let Some(listen) = site.public().next() else { return Vec::new() };
    let hits = site.stages().filter(|stage| stage.does(&Effect::TrustsEverybody)).filter_map(|stage| {
        let hit = Hit::at(stage, format!("`{}` believes every client", stage.name()))?.label("trusts all addresses");
        Some(
            hit.with_span(listen.span.clone(), "other machines connect here")
                .hint("name the addresses of the proxies, as in `\"10.0.0.0/8\"`"),
        )
    });
    hits.collect()
}
