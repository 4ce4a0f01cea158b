//! A path is changed to that of a file, below the layer that serves the file.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "rewrite-below-files",
    harm: Harm::Lost,
    summary: "A path is changed to that of a file, below the layer that serves the file.",
    why: "A request goes down the layers once. When the layer below changes the path, the layer that serves files has already passed the request on, so the app gets a path that it does not know.

          Put `rewrite` above `static`.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "static": { "at": "/static", "root": "staticfiles" } },
    { "rewrite": { "from": "/favicon.ico", "to": "/static/favicon.ico" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "from": "/favicon.ico", "to": "/static/favicon.ico" }"#, Some(r#"{ "at": "/static", "root": "staticfiles" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "rewrite": { "from": "/favicon.ico", "to": "/static/favicon.ico" } },
    { "static": { "at": "/static", "root": "staticfiles" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The app serves what the folder does not have, under the same path.",
    is_fixed: true,
    check,
};

/// The path below which it serves files, if that is not the whole site.
fn at<'a>(stage: &'a Stage<'_>) -> Option<&'a str> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::ServesFolder(folder) if folder.at != "/" => Some(folder.at.as_str()),
        _ => None,
    })
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        for (nth, files) in way.stages.iter().enumerate() {
            let Some(below) = at(files) else { continue };
            for (at, rewrite) in way.stages.iter().enumerate().skip(nth + 1).filter(|(_, rewrite)| rewrite.mount == files.mount) {
                let Some(target) = target(rewrite, below) else { continue };
                // Another layer may serve the new path.
                if !way.stages[at + 1..].iter().any(|stage| self::at(stage).is_some_and(|own| is_below(target, own))) {
                    hits.extend(late(files, rewrite, target));
                }
            }
        }
    }
    hits
}

fn target<'a>(rewrite: &'a Stage<'_>, below: &str) -> Option<&'a str> {
    rewrite.effects.iter().find_map(|effect| match effect {
        Effect::RewritesTo(target) if is_below(target, below) => Some(target.as_str()),
        _ => None,
    })
}

fn is_below(path: &str, at: &str) -> bool {
    path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'))
}

fn late(files: &Stage<'_>, rewrite: &Stage<'_>, target: &str) -> Option<Hit> {
    let hit = Hit::at(rewrite, format!("`{}` above never sees `{target}`", files.name()))?;
    let hit = hit.label("changes the path").with(files, "has passed the request on before");
    Some(hit.hint(format!("move `{}` above `{}`", rewrite.name(), files.name())).fix(rewrite.moved_above(files)))
}
