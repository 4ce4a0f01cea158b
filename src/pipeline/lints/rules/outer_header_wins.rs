//! A header that a layer sets is overruled by a layer above.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "outer-header-wins",
    harm: Harm::Lost,
    summary: "A layer sets a response header, and a layer above overrules it.",
    why: "A response passes the layers from the bottom up. The last one that sets a header is the outermost, so a header of a route does not survive a layer above the routes that sets or removes the \
          same one.

          Set it in the routes alone. The `append` of `headers`, and `security_headers`, keep what layers below have set.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "headers": { "response": { "set": { "cache-control": "no-store" } } } }],
  "app": { "routes": [
    {
      "match": { "path": "/news/*" },
      "layers": [{ "headers": { "response": { "set": { "cache-control": "max-age=60" } } } }],
      "app": { "wsgi": "mysite.wsgi:application" }
    },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
        places: (
            r#"{ "response": { "set": { "cache-control": "max-age=60" } } }"#,
            Some(r#"{ "response": { "set": { "cache-control": "no-store" } } }"#),
        ),
        files: &[],
    },
    right: r#"
{
  "apps": { "site": { "wsgi": "mysite.wsgi:application" } },
  "app": { "routes": [
    {
      "match": { "path": "/news/*" },
      "layers": [{ "headers": { "response": { "set": { "cache-control": "max-age=60" } } } }],
      "app": "site"
    },
    {
      "layers": [{ "headers": { "response": { "set": { "cache-control": "no-store" } } } }],
      "app": "site"
    }
  ] }
}"#,
    allow: "The layer below belongs to a part of the file that is used at other places, too.",
    is_fixed: false,
    check,
};

/// The headers that reach the layer above.
fn given<'a>(stage: &'a Stage<'_>) -> impl Iterator<Item = &'a http::HeaderName> {
    stage.effects.iter().filter_map(|effect| match effect {
        Effect::SetsHeader(name) | Effect::AddsHeader(name) => Some(name),
        _ => None,
    })
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let pairs = site.pairs(|_| true, |_| true).filter_map(|(upper, lower)| {
        let name = given(lower).find(|name| upper.does(&Effect::SetsHeader((*name).clone())))?;
        let hit = Hit::at(lower, format!("`{}` above overrules the header `{name}` of `{}`", upper.name(), lower.name()))?;
        let hit = hit.label(format!("sets `{name}`")).with(upper, "has the last word");
        Some(hit.hint("set the header in the routes alone, or above alone"))
    });
    pairs.collect()
}
