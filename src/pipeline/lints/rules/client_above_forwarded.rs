//! A layer that acts on the client stands above the one that finds out who that is.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "client-above-forwarded",
    harm: Harm::Access,
    summary: "A layer acts on the client's address, on the scheme or on the host, above the layer that determines them.",
    why: "Behind a proxy, each connection comes from the proxy. `forwarded` finds out who the client is, whether it came by https, and to which host. A layer above it sees the proxy in place of the client: a limit \
          counts all clients as one, a rule lets in everybody or nobody, `Strict-Transport-Security` is never sent, and a cache stores one page for all sites behind the proxy.

          Put `forwarded` above.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "rate_limit": "100/s" },
    { "forwarded": { "trust": "10.0.0.0/8" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""100/s""#, Some(r#"{ "trust": "10.0.0.0/8" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "forwarded": { "trust": "10.0.0.0/8" } },
    { "rate_limit": "100/s" }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The layer is meant for the proxy, for instance an `access` that lets only the proxy connect.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let asks = |stage: &Stage<'_>| stage.has(Behavior::NeedsConnectionInfo) || stage.does(&Effect::NeedsClient);
    let finds_out = |stage: &Stage<'_>| stage.has(Behavior::TrustsProxies) && !stage.does(&Effect::TrustsNobody);
    let pairs = site.pairs(asks, finds_out).filter_map(|(asks, finds_out)| {
        let hit = Hit::at(asks, format!("`{}` takes the proxy for the client", asks.name()))?;
        let hit = hit.label("acts on the client, the scheme or the host").with(finds_out, "finds out who the client is");
        Some(hit.hint(format!("move `{}` above it", finds_out.name())).fix(finds_out.moved_above(asks)))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::pipeline::Pipeline;

    #[test]
    fn layers_that_act_on_the_scheme_or_the_host_stand_below_the_one_that_finds_it_out() {
        let found = |layers: &str| {
            let text = format!(r#"{{ "layers": [{layers}], "app": {{ "respond": 204 }} }}"#);
            let pipeline = Pipeline::from_text("pipeline.json", &text, Path::new("/"), &crate::builtin(), &|_| None).unwrap();
            let warnings = pipeline.warnings();
            let messages = warnings.diagnostics().iter().map(|finding| finding.message.clone());
            messages.filter(|message| message.ends_with("takes the proxy for the client")).collect::<Vec<_>>()
        };
        let forwarded = r#"{ "forwarded": { "trust": "10.0.0.0/8" } }"#;
        for layer in ["cache", "csrf"] {
            assert_eq!(found(&format!(r#""{layer}", {forwarded}"#)), [format!("`{layer}` takes the proxy for the client")]);
            assert_eq!(found(&format!(r#"{forwarded}, "{layer}""#)), [""; 0]);
        }
    }
}
