//! Passwords, keys and tokens travel in clear text.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "password-in-clear",
    harm: Harm::Access,
    summary: "A layer asks for passwords, keys or tokens on an address without TLS that other machines reach.",
    why: "Each request carries the password, the key or the token, readable for everybody on the way, who can then use it.

          Listen with `tls`, or behind a proxy with TLS, and say with `forwarded` which one that is. Where the file listens without TLS, too, send these requests to https first.",
    wrong: Example {
        text: r#"
{
  "listen": "0.0.0.0:8000",
  "layers": [{ "basic_auth": { "users": ".htpasswd" } }],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "users": ".htpasswd" }"#, Some(r#""0.0.0.0:8000""#)),
        files: &[],
    },
    right: r#"
{
  "listen": { "at": "0.0.0.0:443", "tls": { "cert": "tls/site.crt", "key": "tls/site.key" } },
  "layers": [{ "basic_auth": { "users": ".htpasswd" } }],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The network is one that nobody else reads, such as a tunnel.",
    is_fixed: false,
    check,
};

fn takes_secrets(stage: &Stage<'_>) -> bool {
    stage.does(&Effect::TakesPasswords) || stage.does(&Effect::TakesTokens)
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let Some(listen) = site.in_clear_text() else { return Vec::new() };
    let mut hits = Vec::new();
    for way in site.ways.iter().filter(|way| !way.is_https_only()) {
        let Some(first) = way.first(takes_secrets) else { continue };
        if way.above(first).iter().any(|stage| stage.has(Behavior::TrustsProxies) && !stage.does(&Effect::TrustsNobody)) {
            continue;
        }
        let auth = &way.stages[first];
        let what = if auth.does(&Effect::TakesPasswords) { "passwords" } else { "keys or tokens" };
        hits.extend(Hit::at(auth, format!("{what} for `{}` travel in clear text", auth.name())).map(|hit| {
            let hit = hit.label(format!("asks for {what}")).with_span(listen.span.clone(), "without TLS");
            hit.hint("give the address `tls`, or name the proxy that has it in a `forwarded` layer above")
        }));
    }
    hits
}
