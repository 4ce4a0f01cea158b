//! `Strict-Transport-Security` is never sent, because nothing knows of https.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "hsts-never-sent",
    harm: Harm::Access,
    summary: "`hsts` is on, and every request looks as if it came by http.",
    why: "`Strict-Transport-Security` is sent in responses to https requests only (RFC 6797 section 7.2). Without `tls` in `listen`, without a `forwarded` layer that believes a proxy with TLS, and without a front server \
          that says the scheme by FastCGI, SCGI or uwsgi, no request is one. Browsers never learn that they have to use https.

          Name the proxy in a `forwarded` layer above, or listen with `tls`.",
    wrong: Example {
        text: r#"
{
  "listen": "127.0.0.1:8000",
  "layers": [{ "security_headers": { "hsts": { "max_age": "365d" } } }],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "hsts": { "max_age": "365d" } }"#, Some(r#""127.0.0.1:8000""#)),
        files: &[],
    },
    right: r#"
{
  "listen": "127.0.0.1:8000",
  "layers": [
    { "forwarded": { "trust": "127.0.0.1" } },
    { "security_headers": { "hsts": { "max_age": "365d" } } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The proxy in front sends the header itself, and this file is used at other places, too.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let may_be_https = site.file.listen.iter().any(|entry| entry.tls.is_some()) || site.gateways().next().is_some();
    let Some(listen) = site.file.listen.first().filter(|_| !may_be_https) else { return Vec::new() };
    let mut hits = Vec::new();
    for way in site.ways.iter().filter(|way| way.first(|stage| stage.has(Behavior::TrustsProxies)).is_none()) {
        for stage in way.stages.iter().filter(|stage| stage.does(&Effect::SendsHsts)) {
            hits.extend(Hit::at(stage, "`hsts` is on, and no request comes by https").map(|hit| {
                let hit = hit.label("never sends `Strict-Transport-Security`").with_span(listen.span.clone(), "without TLS");
                hit.hint("name the proxy that has TLS in a `forwarded` layer above, or listen with `tls`")
            }));
        }
    }
    hits
}
