//! A route or a layer relies on a header that proxies write, and nobody has checked who wrote it.

use http::HeaderName;
use ziggurat_middleware::forwarded::is_claim;
use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "claimed-header",
    harm: Harm::Access,
    summary: "A route or a layer relies on `X-Forwarded-*`, `Forwarded` or `X-Real-IP` without a `forwarded` layer above.",
    why: "Every client can send these headers. Without a `forwarded` layer that says whom to believe, a route does not see them, so it never matches. A limit that counts by one counts whatever the client \
          has invented: each request has a limit of its own.

          Put `forwarded` above, and ask for what it finds out: `client`, `scheme` or `host`.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "rate_limit": { "allow": "100/s", "per": "header:x-forwarded-for" } }],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "allow": "100/s", "per": "header:x-forwarded-for" }"#, None),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "forwarded": { "trust": "10.0.0.0/8" } },
    { "rate_limit": { "allow": "100/s", "per": "client" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "A program of your own in front writes the header under this name, and clients cannot reach the server past it.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let believes = |stage: &Stage<'_>| stage.has(Behavior::TrustsProxies);
    let hint = "put `forwarded` above, and use `client`, `scheme` or `host`, which it finds out";
    let mut hits = Vec::new();
    for way in &site.ways {
        let end = way.first(believes).unwrap_or(way.stages.len());
        for stage in way.above(end) {
            let name = stage.effects.iter().find_map(|effect| match effect {
                Effect::ReadsRequestHeader(name) if is_claim(name) => Some(name),
                _ => None,
            });
            let hit = name.and_then(|name| Hit::at(stage, format!("`{}` relies on `{name}`, which every client can send", stage.name())));
            hits.extend(hit.map(|hit| hit.label("whatever the client says").hint(hint)));
        }
        for passed in way.routes.iter().filter(|passed| passed.stages <= end && passed.is_written) {
            let mut names = passed.route.condition.iter().flat_map(|condition| condition.value.header_names());
            let name = names.find(|name| HeaderName::try_from(*name).is_ok_and(|name| is_claim(&name)));
            hits.extend(name.map(|name| {
                let hit = Hit::at_span(
                    passed.route.span.clone(),
                    format!("no request has `{name}` here, because nobody has checked who sent it"),
                );
                hit.label("never matches").hint(hint)
            }));
        }
    }
    hits
}
