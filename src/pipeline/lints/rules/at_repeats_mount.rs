//! Files are looked for below a prefix that a route has taken off the path.

use ziggurat_middleware::Effect;

use crate::pipeline::fix::Fix;
use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};
use crate::pipeline::tree::{Node, Value};

pub(super) const LINT: Lint = Lint {
    id: "at-repeats-mount",
    harm: Harm::Lost,
    summary: "The `at` of `static` repeats the prefix that a `mount` above has taken off.",
    why: "Below a `mount`, the path of a request begins after its prefix. A `static` that repeats the prefix finds none of its files: requests for them reach the app.

          Write `at` as it is below the mount.",
    wrong: Example {
        text: r#"
{
  "app": { "routes": [
    {
      "mount": "/blog",
      "layers": [{ "static": { "at": "/blog/static", "root": "staticfiles" } }],
      "app": { "wsgi": "blog:app" }
    }
  ] }
}"#,
        places: (r#"{ "at": "/blog/static", "root": "staticfiles" }"#, Some(r#""/blog""#)),
        files: &[],
    },
    right: r#"
{
  "app": { "routes": [
    {
      "mount": "/blog",
      "layers": [{ "static": { "at": "/static", "root": "staticfiles" } }],
      "app": { "wsgi": "blog:app" }
    }
  ] }
}"#,
    allow: "The app is mounted at `/blog` and has a `/blog` of its own.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        for stage in way.stages.iter().filter(|stage| !stage.mount.is_empty()) {
            let rest = stage.effects.iter().find_map(|effect| match effect {
                Effect::ServesFolder(folder) => {
                    folder.at.strip_prefix(stage.mount.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
                }
                _ => None,
            });
            let mount = way.routes[..stage.routes].iter().rev().find_map(|passed| passed.route.mount.as_ref());
            let Some((rest, mount)) = rest.zip(mount) else { continue };
            let rest = if rest.is_empty() { "/" } else { rest };
            let mounted = &stage.mount;
            hits.extend(Hit::at(stage, format!("no path begins with `{mounted}` here: the mount has taken it off")).map(|hit| {
                let hit = hit.label("finds no file").with_span(mount.node.span.clone(), "takes the prefix off");
                let at = stage.part.options.nearest(&["at".into()]);
                let fix = is_text(at).then(|| Fix::Replace { value: at.span.clone(), with: format!("\"{rest}\"") });
                hit.hint(format!("write `\"at\": \"{rest}\"`")).fix(fix)
            }));
        }
    }
    hits
}

const fn is_text(node: &Node) -> bool {
    matches!(node.value, Value::String(_)) && node.expanded.is_none()
}
