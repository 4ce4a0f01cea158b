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
    let pairs = site.pairs(|stage| at(stage).is_some(), |_| true).filter(|(files, rewrite)| files.mount == rewrite.mount).filter_map(
        |(files, rewrite)| {
            let below = at(files)?;
            let target = rewrite.effects.iter().find_map(|effect| match effect {
                Effect::RewritesTo(target) if target.strip_prefix(below).is_some_and(|rest| rest.starts_with('/')) => Some(target),
                _ => None,
            })?;
            let hit = Hit::at(rewrite, format!("`{}` above never sees `{target}`", files.name()))?;
            let hit = hit.label("changes the path").with(files, "has passed the request on before");
            Some(hit.hint(format!("move `{}` above `{}`", rewrite.name(), files.name())).fix(rewrite.moved_above(files)))
        },
    );
    pairs.collect()
}
