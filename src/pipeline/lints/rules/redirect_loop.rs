//! A redirect leads back to its own route.

use std::collections::HashSet;

use ziggurat_middleware::Effect;

use crate::pipeline::lints::follow::Follow;
use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "redirect-loop",
    harm: Harm::Outage,
    summary: "A redirect sends the client to an address that redirects it back, at once or over others.",
    why: "The browser follows the redirect, gets the same one again, and gives up after some twenty of them. The lint follows it in the same way, through the listeners, layers and routes of the file.

          Give the route a condition that the new address does not fulfil. To move a site to https, that is `\"scheme\": \"http\"`.",
    wrong: Example {
        text: r#"
{
  "listen": [":80", { "at": ":443", "tls": { "cert": "tls/site.crt", "key": "tls/site.key" } }],
  "app": { "routes": [
    { "match": { "host": "example.com" }, "app": { "redirect": "https://{host}{path}{query}" } },
    { "app": { "wsgi": "mysite.wsgi:application" } }
  ] }
}"#,
        places: (r#""https://{host}{path}{query}""#, Some(r#"{ "host": "example.com" }"#)),
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
    allow: "Something in front answers the new address.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut follow = Follow::new(site);
    let (mut hits, mut known) = (Vec::new(), HashSet::new());
    for way in &site.ways {
        let Some(app) = way.stages.last() else { continue };
        let target = app.effects.iter().find_map(|effect| match effect {
            Effect::RedirectsTo(target) => Some(target.as_str()),
            _ => None,
        });
        let Some(target) = target.filter(|_| !known.contains(&std::ptr::from_ref(app.part))) else { continue };
        let Some(circle) = follow.circle(way) else { continue };
        known.extend(circle.iter().map(|stage| std::ptr::from_ref(stage.part)));
        hits.extend(Hit::at(app, format!("`{target}` leads back to this redirect")).map(|hit| {
            let hit = hit.label("sends the client here again").hint("give the route a condition that the new address does not fulfil");
            match (circle.get(1), way.routes.last()) {
                (Some(other), _) => hit.with(other, "redirects from there"),
                (None, Some(passed)) => hit.with_span(passed.route.span.clone(), "holds for the new address, too"),
                (None, None) => hit,
            }
        }));
    }
    hits
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::pipeline::Pipeline;

    /// How many redirects of a file on port 7500 are said to be in a loop.
    fn loops(rest: &str) -> usize {
        let text = format!(r#"{{ "listen": "127.0.0.1:7500", {rest} }}"#);
        let pipeline = Pipeline::from_text("pipeline.json", &text, Path::new("/nowhere"), &crate::builtin(), &|_| None).unwrap();
        pipeline.warnings().diagnostics().iter().filter(|finding| finding.id.as_str() == "redirect-loop").count()
    }

    fn route(condition: &str, to: &str) -> String {
        format!(r#"{{ "match": {{ {condition} }}, "app": {{ "redirect": "{to}" }} }}"#)
    }

    #[test]
    fn a_redirect_that_the_file_itself_answers_with_redirects_again_and_again_is_a_loop() {
        const REST: &str = r#"{ "app": { "respond": 204 } }"#;
        for routes in [
            route(r#""host": "www.example.com""#, "http://www.example.com:7500{path}{query}"),
            route(r#""host": "www.example.com""#, "http://{host}:7500{path}"),
            route(r#""host": "*.example.com""#, "http://a.example.com:7500/"),
            route(r#""host": ["example.com", "www.example.com"]"#, "http://www.example.com:7500{path}"),
            route(r#""path": "/x""#, "{path}"),
            route(r#""path": "/x""#, "{path}?again=1"),
            route(r#""path": "/docs/*""#, "/docs/"),
            route(r#""path": "/u/{id}""#, "/u/{id}"),
            route(r#""path": { "regex": "/about/?" }"#, "/about/"),
            route(r#""path": "/x", "header": { "x-a": "1" }"#, "/x"),
            route(r#""path": "/x", "client": "10.0.0.0/8", "method": "GET""#, "/x"),
            route(r#""not": { "path": "/new" }"#, "/old"),
            [route(r#""path": "/a""#, "/b"), route(r#""path": "/b""#, "/a")].join(", "),
            [route(r#""path": "/a""#, "/b"), route(r#""path": "/b""#, "/c"), route(r#""path": "/c""#, "/a")].join(", "),
            r#"{ "mount": "/m", "app": { "redirect": "/m{path}" } }"#.to_owned(),
            r#"{ "match": { "path": "/y/*" }, "layers": [{ "slash": "append" }], "app": { "redirect": "/y" } }"#.to_owned(),
        ] {
            assert_eq!(loops(&format!(r#""app": {{ "routes": [{routes}, {REST}] }}"#)), 1, "{routes}");
        }
        for app in [r#""app": { "redirect": "/new{path}" }"#, r#""app": { "redirect": "{path}{query}" }"#] {
            assert_eq!(loops(app), 1, "{app}");
        }
    }

    #[test]
    fn a_redirect_that_ends_or_leads_to_where_nobody_knows_is_none() {
        const REST: &str = r#"{ "app": { "respond": 204 } }"#;
        for routes in [
            route(r#""host": "example.com""#, "http://www.example.com:7500{path}"),
            route(r#""host": "www.example.com""#, "http://{host}{path}"),
            route(r#""host": "www.example.com""#, "http://{host}:7501{path}"),
            route(r#""host": "www.example.com""#, "https://{host}{path}"),
            route(r#""path": "/old/{rest*}""#, "/{rest}"),
            route(r#""path": "/a""#, "/b"),
            [route(r#""path": "/a""#, "/b"), route(r#""path": "/b""#, "/c")].join(", "),
            route(r#""path": "/a", "query": { "q": true }"#, "/a"),
            route(r#""path": "/a", "method": "POST""#, "/a"),
            route(r#""not": { "path": "/new/*" }"#, "/new{path}"),
            r#"{ "mount": "/m", "app": { "redirect": "{path}" } }"#.to_owned(),
            r#"{ "match": { "path": "/x", "cookie": { "seen": false } }, "layers": [{ "headers": { "response": { "append": { "set-cookie": "seen=1" } } } }], "app": { "redirect": "/x" } }"#.to_owned(),
            r#"{ "match": { "path": "/x" }, "layers": [{ "wsgi": "a:b" }], "app": { "redirect": "/x" } }"#.to_owned(),
            r#"{ "match": { "path": "/y" }, "layers": [{ "rewrite": { "from": "/y", "to": "/z" } }], "app": { "redirect": "{path}" } }"#
                .to_owned(),
        ] {
            assert_eq!(loops(&format!(r#""app": {{ "routes": [{routes}, {REST}] }}"#)), 0, "{routes}");
        }
        for rest in [
            r#""app": { "redirect": "https://new.example.com{path}" }"#,
            r#""layers": [{ "static": { "at": "/", "root": "public" } }], "app": { "redirect": "/index.html" }"#,
        ] {
            assert_eq!(loops(rest), 0, "{rest}");
        }
    }
}
