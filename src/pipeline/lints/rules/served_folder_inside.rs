//! A served folder lies in another one, so its files have two addresses.

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Served, Site};

pub(super) const LINT: Lint = Lint {
    id: "served-folder-inside",
    harm: Harm::Access,
    summary: "A served folder lies inside another one, so its files have a second address.",
    why: "Files in the inner folder are also served below the address of the outer one, with its options and without the layers of the inner one. Uploads in the folder of static files are the usual case: \
          `collectstatic --clear` deletes them, and clients keep them for a year if names look as if they had a hash.

          Keep the two folders beside each other.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "static": { "at": "/static", "root": "files" } },
    { "static": { "at": "/media", "root": "files/uploads" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "at": "/media", "root": "files/uploads" }"#, Some(r#"{ "at": "/static", "root": "files" }"#)),
        files: &["files/uploads/cat.png", "uploads/cat.png"],
    },
    right: r#"
{
  "layers": [
    { "static": { "at": "/static", "root": "files" } },
    { "static": { "at": "/media", "root": "uploads" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The inner one only has other options for a part of the outer one, such as another `max_age`.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let folders = site.served_folders();
    let mut hits = Vec::new();
    for inner in &folders {
        // The same address below the outer one is a part with other options.
        let is_around =
            |outer: &&Served<'_>| outer.root != inner.root && outer.shows(&inner.root) && outer.url_of(&inner.root) != inner.url();
        let Some(outer) = folders.iter().find(is_around) else { continue };
        let url = outer.url_of(&inner.root);
        hits.extend(Hit::at(inner.stage, format!("these files are served at `{url}`, too")).map(|hit| {
            let hit = hit.label("inside of the other folder").with(outer.stage, "serves them as well");
            hit.hint("keep the two folders beside each other")
        }));
    }
    hits
}
