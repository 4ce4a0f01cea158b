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
    let folders = site.served_folders();
    let mut hits = Vec::new();
    for stage in site.stages() {
        for effect in stage.effects.iter() {
            let Effect::UsesPrivateFile(path) = effect else { continue };
            let Some(file) = site.real_file(path) else { continue };
            let Some(folder) = folders.iter().find(|folder| folder.shows(&file)) else { continue };
            hits.extend(Hit::at(stage, format!("clients can read `{}`", path.display())).map(|hit| {
                let hit = hit.label("the file").with(folder.stage, "serves its folder");
                hit.hint("move the file to where nothing is served from")
            }));
        }
    }
    let stores = site.file.listen.iter().filter_map(|entry| Some((entry, entry.tls.as_ref()?.value.acme()?)));
    for (entry, acme) in stores {
        let Some(store) = site.real_file(&acme.store) else { continue };
        let Some(folder) = folders.iter().find(|folder| folder.shows(&store)) else { continue };
        let hit = Hit::at_span(entry.span.clone(), format!("clients can read the keys in `{}`", acme.store.display()));
        hits.push(hit.label("keeps keys there").with(folder.stage, "serves its folder").hint("name another folder in `store`"));
    }
    hits
}
