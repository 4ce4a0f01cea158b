//! A served folder looks like that of a project.

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "code-public",
    harm: Harm::Access,
    summary: "A served folder holds code, keys or a database.",
    why: "`static` serves every file of its folder. A folder with `manage.py`, `pyproject.toml` or a database is a project, and not what clients are meant to read. The folders of the pipeline file and of \
          its apps are refused anyway (`published-code`).

          Name a folder that holds nothing but files for clients, such as the one that `collectstatic` fills.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "static": { "at": "/static", "root": "project" } }],
  "app": { "respond": 404 }
}"#,
        places: (r#"{ "at": "/static", "root": "project" }"#, None),
        files: &["project/manage.py", "project/static/site.css"],
    },
    right: r#"
{
  "layers": [{ "static": { "at": "/static", "root": "project/static" } }],
  "app": { "respond": 404 }
}"#,
    allow: "The code is public and meant for download.",
    is_fixed: false,
    check,
};

/// Files that no folder for clients has.
const NAMES: [&str; 14] = [
    "manage.py",
    "wsgi.py",
    "settings.py",
    "setup.py",
    "pyproject.toml",
    "requirements.txt",
    "Dockerfile",
    "Procfile",
    "composer.json",
    "package-lock.json",
    "Cargo.toml",
    "id_rsa",
    "id_ed25519",
    "wp-config.php",
];

/// Ends of such files.
const ENDS: [&str; 4] = [".sqlite3", ".key", ".pem", ".pyc"];

/// A bound on the files that are looked at in one folder.
const MOST: usize = 1000;

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for folder in site.served_folders() {
        let Ok(entries) = std::fs::read_dir(&folder.root) else { continue };
        let names = entries.take(MOST).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let Some(name) = names.filter(|name| NAMES.contains(&name.as_str()) || ENDS.iter().any(|end| name.ends_with(end))).min() else {
            continue;
        };
        hits.extend(
            Hit::at(folder.stage, format!("clients can read `{name}`"))
                .map(|hit| hit.label("this folder holds it").hint("name a folder that holds nothing but files for clients")),
        );
    }
    hits
}
