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
    let published = site.published(|effect| match effect {
        Effect::SendsFolder(path) => Some(path),
        _ => None,
    });
    let hits = published.into_iter().filter_map(|(stage, path, server)| {
        let hit = Hit::at(stage, format!("clients can read `{}` past the app", path.display()))?;
        Some(
            hit.label("files that the app gives out")
                .with(server, "serves the same files to everybody")
                .hint("keep these files in a folder of their own"),
        )
    });
    hits.collect()
}
