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
    let published = site.published(|effect| match effect {
        Effect::RunsFolder(path) => Some(path),
        _ => None,
    });
    let hits = published.into_iter().filter_map(|(stage, path, server)| {
        let hit = Hit::at(stage, format!("clients can read the sources in `{}`", path.display()))?;
        Some(hit.label("runs what is there").with(server, "sends it as files").hint("serve a folder that has no programs in it"))
    });
    hits.collect()
}
