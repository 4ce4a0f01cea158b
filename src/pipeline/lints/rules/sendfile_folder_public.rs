//! A folder whose files only the app gives out is served to everybody.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "sendfile-folder-public",
    harm: Harm::Access,
    summary: "The folder of `sendfile`, whose files the app gives out, lies in a folder that clients can read.",
    why: "With `sendfile`, the app decides who gets a file. `static` asks nobody: a client that knows or guesses the name gets the file past the app.

          Keep the two folders apart.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "static": { "at": "/static", "root": "files" } },
    { "sendfile": { "at": "/protected", "root": "files/invoices" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "at": "/protected", "root": "files/invoices" }"#, Some(r#"{ "at": "/static", "root": "files" }"#)),
        files: &["files/invoices/1.pdf", "invoices/1.pdf"],
    },
    right: r#"
{
  "layers": [
    { "static": { "at": "/static", "root": "files" } },
    { "sendfile": { "at": "/protected", "root": "invoices" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The files are public, and the app sends them only to count them.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let folders = site.served_folders();
    let mut hits = Vec::new();
    for stage in site.stages() {
        for effect in stage.effects.iter() {
            let Effect::SendsFolder(path) = effect else { continue };
            let Some(root) = site.real(path) else { continue };
            let Some(folder) = folders.iter().find(|folder| folder.shows(&root)) else { continue };
            hits.extend(Hit::at(stage, format!("clients can read `{}` past the app", path.display())).map(|hit| {
                let hit = hit.label("files that the app gives out").with(folder.stage, "serves the same files to everybody");
                hit.hint("keep these files in a folder of their own")
            }));
        }
    }
    hits
}
