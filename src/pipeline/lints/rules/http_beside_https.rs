//! The site is served by https, and without any redirect by http, too.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "http-beside-https",
    harm: Harm::Access,
    summary: "The file listens with TLS and without, and nothing sends clients from http to https.",
    why:
        "Whoever follows an old link or types the name stays in clear text, with cookies and passwords, although the site has a certificate.

          Add a first route that redirects http to https, or do not listen without TLS. Challenges of ACME are answered before any route.",
    wrong: Example {
        text: r#"
{
  "listen": [":80", { "at": ":443", "tls": { "cert": "tls/site.crt", "key": "tls/site.key" } }],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"":80""#, Some(r#"":443""#)),
        files: &[],
    },
    right: r#"
{
  "listen": [":80", { "at": ":443", "tls": { "cert": "tls/site.crt", "key": "tls/site.key" } }],
  "app": { "routes": [
    { "match": { "scheme": "http" }, "app": { "redirect": "https://{host}{path}{query}" } },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
    allow: "Old devices that know no TLS read something harmless, or the address without TLS is for a proxy.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let encrypted = site.public().find(|entry| entry.tls.is_some());
    let Some((plain, encrypted)) = site.in_clear_text().zip(encrypted) else { return Vec::new() };
    let is_settled = site.ways.iter().any(|way| {
        let redirects = way
            .stages
            .iter()
            .flat_map(|stage| stage.effects.iter())
            .any(|effect| matches!(effect, Effect::RedirectsTo(to) if to.starts_with("https://")));
        // A proxy in front may have TLS, or the app may decide by the scheme.
        redirects || way.asks_for_http() || way.stages.iter().any(|stage| stage.has(Behavior::TrustsProxies))
    });
    if is_settled {
        return Vec::new();
    }
    let hit = Hit::at_span(plain.span.clone(), "the site is served in clear text, too")
        .label("without TLS")
        .with_span(encrypted.span.clone(), "with TLS");
    vec![
        hit.hint(
            "make `{ \"match\": { \"scheme\": \"http\" }, \"app\": { \"redirect\": \"https://{host}{path}{query}\" } }` the first route",
        ),
    ]
}
