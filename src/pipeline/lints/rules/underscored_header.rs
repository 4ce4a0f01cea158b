//! The name of a request header has an underscore, so that nobody below gets the header.

use http::HeaderName;
use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "underscored-header",
    harm: Harm::Lost,
    summary: "A layer or a route reads a request header whose name has an underscore, or sets one for a Python app.",
    why: "In a WSGI environ, `X_User` and `X-User` are both `HTTP_X_USER`: one could be passed off as the other. So the server removes headers with an underscore that clients send, and those that layers set reach no Python app. \
          A layer that reads one never finds it, and an app that reads `HTTP_X_USER` gets what the client sends as `X-User`.

          Write the name with hyphens.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "rate_limit": { "allow": "100/s", "per": "header:api_key" } }],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "allow": "100/s", "per": "header:api_key" }"#, None),
        files: &[],
    },
    right: r#"
{
  "layers": [{ "rate_limit": { "allow": "100/s", "per": "header:api-key" } }],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "A layer of your own above sets the header, or one below takes it out of the request again.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let is_set = |name: &str, end: usize| way.above(end).iter().any(|stage| sets(stage, name));
        for (at, stage) in way.stages.iter().enumerate() {
            let below = &way.stages[at + 1..];
            let to_python = below.iter().any(|stage| stage.has(Behavior::RunsPython));
            let is_used = |name: &HeaderName| {
                let uses = [Effect::ReadsRequestHeader(name.clone()), Effect::RemovesRequestHeader(name.clone())];
                below.iter().any(|stage| uses.iter().any(|effect| stage.does(effect)))
            };
            let hit = stage.effects.iter().find_map(|effect| match effect {
                Effect::ReadsRequestHeader(name) if name.as_str().contains('_') && !is_set(name.as_str(), at) => {
                    Hit::at(stage, format!("no request has `{name}`: headers with an underscore are removed"))
                        .map(|hit| hit.label("reads it").hint(hint(name.as_str())))
                }
                Effect::SetsRequestHeader(name) if name.as_str().contains('_') && to_python && !is_used(name) => {
                    Hit::at(stage, format!("no Python app gets `{name}`: headers with an underscore are left out"))
                        .map(|hit| hit.label("sets it").hint(hint(name.as_str())))
                }
                _ => None,
            });
            hits.extend(hit);
        }
        for passed in way.routes.iter().filter(|passed| passed.is_written) {
            let mut names = passed.route.condition.iter().flat_map(|condition| condition.value.header_names());
            let name = names.find(|name| name.contains('_') && !is_set(name, passed.stages));
            hits.extend(name.map(|name| {
                let hit =
                    Hit::at_span(passed.route.span.clone(), format!("no request has `{name}`: headers with an underscore are removed"));
                hit.label("never matches").hint(hint(name))
            }));
        }
    }
    hits
}

fn sets(stage: &Stage<'_>, name: &str) -> bool {
    stage.effects.iter().any(|effect| matches!(effect, Effect::SetsRequestHeader(set) if set.as_str().eq_ignore_ascii_case(name)))
}

fn hint(name: &str) -> String {
    format!("write `{}`", name.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::pipeline::Pipeline;

    /// What is found in a file with these layers over an app.
    fn found(layers: &str, app: &str) -> Vec<String> {
        let text = format!(r#"{{ "layers": [{layers}], "app": {app} }}"#);
        let pipeline = Pipeline::from_text("pipeline.json", &text, Path::new("/"), &crate::builtin(), &|_| None).unwrap();
        let warnings = pipeline.warnings();
        let messages = warnings.diagnostics().iter().map(|finding| finding.message.clone());
        messages.filter(|message| message.contains("underscore")).collect()
    }

    #[test]
    fn headers_with_an_underscore_are_found_where_nobody_gets_them() {
        const READ: &str = "no request has `x_a`: headers with an underscore are removed";
        const SET: &str = "no Python app gets `x_a`: headers with an underscore are left out";
        let (python, native) = (r#"{ "wsgi": "a:b" }"#, r#"{ "proxy": "http://127.0.0.1:9" }"#);
        let set = r#"{ "headers": { "request": { "set": { "x_a": "b" } } } }"#;
        let renamed = r#"{ "headers": { "request": { "rename": { "x_a": "x-a" } } } }"#;
        let asked =
            r#"{ "routes": [{ "match": { "header": { "X_A": "b" } }, "app": { "respond": 204 } }, { "app": { "respond": 404 } }] }"#;
        assert_eq!(found(set, python), [SET]);
        assert_eq!(found(r#"{ "headers": { "request": { "rename": { "x-b": "x_a" } } } }"#, python), [SET]);
        assert_eq!(found(set, native), [""; 0]);
        assert_eq!(found(&format!("{set}, {renamed}"), python), [""; 0]);
        assert_eq!(found(r#"{ "api_key": { "keys": "keys", "from": "header:x_a" } }"#, native), [READ]);
        assert_eq!(found("", asked), [READ.replace("x_a", "X_A")]);
        assert_eq!(found(set, asked), [""; 0]);
    }
}
