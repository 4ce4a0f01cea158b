//! The style sheets and scripts of pages are refused, because browsers send no token for them.

use std::fs;
use std::path::Path;

use http::header::COOKIE;
use ziggurat_middleware::{Effect, ServedFolder};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "assets-behind-token",
    harm: Harm::Lost,
    summary: "Style sheets or scripts are served below a layer that takes a token from a header.",
    why: "A browser that loads the style sheets, scripts and images of a page sends neither an API key nor `Authorization: Bearer` with these requests: only code of the page could. Each of them gets 401, and \
          the page stays bare. Cookies and the password of HTTP Basic are another matter: a browser sends them with every request to the site.

          Put `static` above the layer if everybody may have the files, or let the layer take its token from a cookie, too.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "api_key": "keys" },
    { "static": { "at": "/static", "root": "staticfiles" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "at": "/static", "root": "staticfiles" }"#, Some(r#""keys""#)),
        files: &["staticfiles/css/site.css"],
    },
    right: r#"
{
  "layers": [
    { "static": { "at": "/static", "root": "staticfiles" } },
    { "api_key": "keys" }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "Programs with a token fetch the files, and no page needs them.",
    // To move files out of the reach of a guard is a decision.
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let pairs = site.pairs(asks_for_header, |stage| folder(stage).is_some()).filter_map(|(guard, files)| {
        let root = site.real(&folder(files)?.root)?;
        if !has_assets(&root) {
            return None;
        }
        let hit = Hit::at(files, format!("browsers get 401 for the files of `{}`", files.name()))?.label("serves style sheets or scripts");
        let hit = hit.with(guard, "takes a token that browsers do not send by themselves");
        Some(hit.hint(format!("put `{}` above `{}` if everybody may have the files", files.name(), guard.name())))
    });
    pairs.collect()
}

/// Whether it takes tokens, and none from what a browser sends by itself.
fn asks_for_header(stage: &Stage<'_>) -> bool {
    let by_itself = |effect: &Effect| match effect {
        Effect::TakesPasswords => true,
        Effect::ReadsRequestHeader(name) => *name == COOKIE,
        _ => false,
    };
    stage.does(&Effect::TakesTokens) && !stage.effects.iter().any(by_itself)
}

fn folder<'s>(stage: &'s Stage<'_>) -> Option<&'s ServedFolder> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::ServesFolder(folder) => Some(folder),
        _ => None,
    })
}

/// The most files and folders that are looked at.
const MOST: usize = 1000;

/// Whether a folder has files that pages load.
fn has_assets(folder: &Path) -> bool {
    let (mut folders, mut seen) = (vec![folder.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            let (path, is_folder) = (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if seen > MOST => return false,
                _ if is_folder => folders.push(path),
                Some("css" | "js" | "mjs") => return true,
                _ => {}
            }
        }
    }
    false
}
