//! A path is guarded, and the paths below it reach the same app without a guard.

use crate::pipeline::fix::Fix;
use crate::pipeline::lints::site::Passed;
use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};
use crate::pipeline::model::{App, Route};
use crate::pipeline::tree::{Node, Value};

pub(super) const LINT: Lint = Lint {
    id: "auth-guards-one-path",
    harm: Harm::Access,
    summary: "A route guards exactly one path, and the paths below it reach the same app by another route.",
    why: "A `path` without `/*` is that path and no other. `/admin/` and `/admin/users` are other paths, so they come to the app by a later route, without the guard.

          End the path in `/*`: `/admin/*` is `/admin` and everything below it.",
    wrong: Example {
        text: r#"
{
  "apps": { "site": { "wsgi": "mysite.wsgi:application" } },
  "app": { "routes": [
    { "match": { "path": "/admin" }, "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": "site" },
    { "app": "site" }
  ] }
}"#,
        places: (r#"{ "path": "/admin" }"#, Some(r#"{ "app": "site" }"#)),
        files: &[],
    },
    right: r#"
{
  "apps": { "site": { "wsgi": "mysite.wsgi:application" } },
  "app": { "routes": [
    { "match": { "path": "/admin/*" }, "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": "site" },
    { "app": "site" }
  ] }
}"#,
    allow: "The app has nothing below the path, and never will have.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        for (depth, passed) in way.routes.iter().enumerate().filter(|(_, passed)| passed.is_written) {
            let end = way.routes.get(depth + 1).map_or(way.stages.len(), |next| next.stages);
            if way.stages[passed.stages..end].iter().any(Stage::asks_who) && !way.above(passed.stages).iter().any(Stage::asks_who) {
                hits.extend(open(site, *passed));
            }
        }
    }
    hits
}

/// The exact path of this route that is open below.
fn open(site: &Site<'_>, guarded: Passed<'_>) -> Option<Hit> {
    let condition = guarded.route.condition.as_ref().filter(|_| guarded.route.mount.is_none())?;
    condition.value.exact_paths().find_map(|path| {
        let folder = folder(&path)?;
        let below = format!("{folder}/x");
        let takes = |route: &&Route| {
            route.is_enabled() && route.mount.is_none() && route.condition.as_ref().is_none_or(|keys| keys.value.holds_for_path(&below))
        };
        let other = guarded.table.routes.iter().find(takes).filter(|other| !std::ptr::eq(*other, guarded.route))?;
        let is_guarded = site.ways.iter().any(|way| {
            let leads = way.routes.iter().find(|passed| std::ptr::eq(passed.route, other));
            leads.is_some_and(|leads| way.stages[leads.stages..].iter().any(Stage::asks_who))
        });
        if is_guarded || !is_same(bottom(site, &guarded.route.stack.app), bottom(site, &other.stack.app)) {
            return None;
        }
        let open = if condition.value.holds_for_path(&format!("{folder}/")) { &below } else { &format!("{folder}/") };
        let hit = Hit::at_span(guarded.route.span.clone(), format!("`{path}` is guarded, and `{open}` is not")).label("this path alone");
        let hit = hit.with_span(other.span.clone(), "takes the paths below it to the same app").hint(format!("write `\"{folder}/*\"`"));
        let written = written(condition.node.nearest(&["path".into()]), &path);
        Some(hit.fix(written.map(|node| Fix::Replace { value: node.span.clone(), with: format!("\"{folder}/*\"") })))
    })
}

/// A path without the slash at its end. Nothing is below the root that is not below everything, and nothing below a file.
fn folder(path: &str) -> Option<&str> {
    let folder = path.strip_suffix('/').unwrap_or(path);
    let name = folder.rsplit('/').next().filter(|name| !name.is_empty())?;
    (folder.len() < path.len() || !name.contains('.')).then_some(folder)
}

/// The app that a name of the file leads to.
fn bottom<'a>(site: &Site<'a>, mut app: &'a App) -> &'a App {
    for _ in 0..MOST_NAMES {
        let App::Named(id, _) = app else { break };
        app = &site.file.apps[*id].stack.app;
    }
    app
}

/// Names that lead to names.
const MOST_NAMES: usize = 32;

/// The string with this text.
fn written<'a>(node: &'a Node, path: &str) -> Option<&'a Node> {
    match &node.value {
        Value::String(text) => (text == path).then_some(node),
        _ => node.children().find_map(|(_, child)| written(child, path)),
    }
}

fn is_same(one: &App, other: &App) -> bool {
    match (one, other) {
        (App::Routes(one), App::Routes(other)) => std::ptr::eq(one, other),
        (App::Part(one), App::Part(other)) => one.kind.name == other.kind.name && one.options.is_like(&other.options),
        _ => false,
    }
}
