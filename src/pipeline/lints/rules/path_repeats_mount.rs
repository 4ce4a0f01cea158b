//! A route asks for a prefix that a route above has taken off the path.

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "path-repeats-mount",
    harm: Harm::Lost,
    summary: "The `path` of a route repeats the prefix that a `mount` above has taken off.",
    why: "Below a `mount`, the path of a request begins after its prefix, so the route never matches. Only in the route with the `mount` itself, `path` is the whole path.

          Write the path as it is below the mount.",
    wrong: Example {
        text: r#"
{
  "app": { "routes": [
    { "mount": "/blog", "app": { "routes": [
      { "match": { "path": "/blog/admin/*" }, "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": { "wsgi": "blog:admin" } },
      { "app": { "wsgi": "blog:app" } }
    ] } }
  ] }
}"#,
        places: (r#"{ "path": "/blog/admin/*" }"#, Some(r#""/blog""#)),
        files: &[],
    },
    right: r#"
{
  "app": { "routes": [
    { "mount": "/blog", "app": { "routes": [
      { "match": { "path": "/admin/*" }, "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": { "wsgi": "blog:admin" } },
      { "app": { "wsgi": "blog:app" } }
    ] } }
  ] }
}"#,
    allow: "The app is mounted at `/blog` and has a `/blog` of its own.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        for (depth, passed) in way.routes.iter().enumerate().filter(|(_, passed)| passed.is_written) {
            let mut above = way.routes[..depth].iter().filter_map(|above| above.route.mount.as_ref());
            let prefix: String = above.clone().map(|mount| mount.value.as_str()).collect();
            let Some(mount) = above.next_back() else { continue };
            let repeats = |path: &String| path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let mut paths = passed.route.condition.iter().flat_map(|condition| condition.value.path_texts());
            let Some(path) = paths.find(repeats) else { continue };
            let hit = Hit::at_span(passed.route.span.clone(), format!("no path begins with `{prefix}` here: the mount has taken it off"));
            let hit = hit.label("never matches").with_span(mount.node.span.clone(), "takes the prefix off");
            let rest = path.strip_prefix(prefix.as_str()).filter(|rest| !rest.is_empty()).unwrap_or("/");
            hits.push(hit.hint(format!("write `\"path\": \"{rest}\"`")));
        }
    }
    hits
}
