//! A layer removes the slash at the end of a path, and files below are served for folders only with it.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use ziggurat_middleware::{Behavior, Effect, ServedFolder};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "slash-hides-index",
    harm: Harm::Outage,
    summary: "A layer removes the slash at the end of paths, and files below have index pages, whose paths end in a slash.",
    why: "The index page of a folder is served at the path with a slash, so that the links in it lead into the folder: `static` redirects `/docs` to `/docs/`. A `slash` layer above that removes slashes redirects \
          `/docs/` to `/docs`, until the browser gives up.

          Put the `slash` layer below the files, so that it meets only what is no file. Django's `APPEND_SLASH` meets it in the same way: `manage.py check` warns of that, because it knows the settings.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "slash": "remove" },
    { "static": { "at": "/", "root": "public" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "at": "/", "root": "public" }"#, Some(r#""remove""#)),
        files: &["public/docs/index.html"],
    },
    right: r#"
{
  "layers": [
    { "static": { "at": "/", "root": "public" } },
    { "slash": "remove" }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "Nobody asks for the folders that have index pages.",
    is_fixed: true,
    check,
};

/// The most entries of a folder that are looked at.
const MOST_ENTRIES: usize = 2000;

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        for (at, slash) in way.stages.iter().enumerate().filter(|(_, stage)| stage.does(&Effect::EndsPathsWithSlash(false))) {
            // What is below a layer that changes paths has other ones than the client sees.
            let below = way.stages[at + 1..].iter().take_while(|stage| !stage.has(Behavior::RewritesPath));
            for (files, folder) in below.filter_map(|stage| Some((stage, served(stage)?))) {
                let Some(page) = site.real(&folder.root).and_then(|root| index_page(&root, folder)) else { continue };
                let url = format!("{}{}{}", files.mount, folder.at.trim_end_matches('/'), page);
                let message = format!("`{url}` is an index page, and `{}` above redirects to the path without the slash", slash.name());
                hits.extend(Hit::at(files, message).map(|hit| {
                    let hit = hit.label("redirects to the path with a slash").with(slash, "removes the slash");
                    hit.hint(format!("put `{}` below the files", slash.name())).fix(slash.moved_below(files))
                }));
            }
        }
    }
    hits
}

fn served<'s>(stage: &'s Stage<'_>) -> Option<&'s ServedFolder> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::ServesFolder(folder) => Some(folder),
        _ => None,
    })
}

/// The path of a folder with an index page, below the served one. `/` stays as it is, so the page of a whole site does not count.
fn index_page(root: &Path, folder: &ServedFolder) -> Option<String> {
    let index = folder.index.as_ref()?;
    let is_at_top = folder.at == "/";
    let (mut waiting, mut left) = (VecDeque::from([root.to_owned()]), MOST_ENTRIES);
    while let Some(next) = waiting.pop_front() {
        if next.join(index).is_file() && !(is_at_top && next == root) {
            let inside = next.strip_prefix(root).ok()?.display().to_string();
            return Some(if inside.is_empty() { "/".to_owned() } else { format!("/{inside}/") });
        }
        waiting.extend(folders(&next, folder.dotfiles, &mut left));
    }
    None
}

/// The folders in a folder, by name; none when so many entries have been looked at.
fn folders(folder: &Path, dotfiles: bool, left: &mut usize) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut folders = Vec::new();
    for entry in entries.take(*left).flatten() {
        *left -= 1;
        let is_seen = dotfiles || !entry.file_name().as_encoded_bytes().starts_with(b".");
        if is_seen && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    folders.sort();
    folders
}
