//! Clients can read the source of programs that should run.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "script-source-public",
    harm: Harm::Access,
    summary: "The folder of programs or scripts is served as files.",
    why: "`static` sends a script as it is, with the passwords in it, instead of running it. As a layer above `fastcgi` or `cgi` it does so for every script.

          Serve a folder of its own that has files only, such as `public/assets`.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "static": { "at": "/", "root": "public" } }],
  "app": { "fastcgi": { "to": "unix:/run/php/php-fpm.sock", "root": "public" } }
}"#,
        places: (r#"{ "to": "unix:/run/php/php-fpm.sock", "root": "public" }"#, Some(r#"{ "at": "/", "root": "public" }"#)),
        files: &["public/assets/site.css", "public/login.php"],
    },
    right: r#"
{
  "layers": [{ "static": { "at": "/assets", "root": "public/assets" } }],
  "app": { "fastcgi": { "to": "unix:/run/php/php-fpm.sock", "root": "public" } }
}"#,
    allow: "The sources are public.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let folders = site.served_folders();
    let mut hits = Vec::new();
    for stage in site.stages() {
        for effect in stage.effects.iter() {
            let Effect::RunsFolder(path) = effect else { continue };
            let Some(root) = site.real(path) else { continue };
            let Some(folder) = folders.iter().find(|folder| folder.shows(&root)) else { continue };
            hits.extend(Hit::at(stage, format!("clients can read the sources in `{}`", path.display())).map(|hit| {
                let hit = hit.label("runs what is there").with(folder.stage, "sends it as files");
                hit.hint("serve a folder that has no programs in it")
            }));
        }
    }
    hits
}
