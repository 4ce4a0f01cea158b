//! A file that clients must not read lies in a folder that is served.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "private-files-public",
    harm: Harm::Access,
    summary: "A file with passwords, a log, or a store of keys lies in a folder that clients can read.",
    why: "`static` serves every file of its folder. Whoever guesses the name of the password file or of the log gets it.

          Move the file out of the folder, best beside the pipeline file.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "access_log": { "to": "public/access.log" } },
    { "static": { "at": "/static", "root": "public" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "to": "public/access.log" }"#, Some(r#"{ "at": "/static", "root": "public" }"#)),
        files: &["public/site.css"],
    },
    right: r#"
{
  "layers": [
    { "access_log": { "to": "logs/access.log" } },
    { "static": { "at": "/static", "root": "public" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "Never for passwords and keys. A log may be meant for everybody.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let published = site.published(|effect| match effect {
        Effect::UsesPrivateFile(path) => Some(path),
        _ => None,
    });
    let mut hits: Vec<Hit> = published
        .into_iter()
        .filter_map(|(stage, path, server)| {
            let hit = Hit::at(stage, format!("clients can read `{}`", path.display()))?;
            Some(hit.label("the file").with(server, "serves its folder").hint("move the file to where nothing is served from"))
        })
        .collect();
    let folders = site.served_folders();
    let stores = site.file.listen.iter().filter_map(|entry| Some((entry, entry.tls.as_ref()?.value.acme()?)));
    for (entry, acme) in stores {
        let Some(store) = site.real_file(&acme.store) else { continue };
        let Some(folder) = folders.iter().find(|folder| folder.shows(&store)) else { continue };
        let hit = Hit::at_span(entry.span.clone(), format!("clients can read the keys in `{}`", acme.store.display()));
        hits.push(hit.label("keeps keys there").with(folder.stage, "serves its folder").hint("name another folder in `store`"));
    }
    hits
}
