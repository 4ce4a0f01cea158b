//! Files are sent uncompressed, because the layer that compresses stands below the one that serves them.

use ziggurat_middleware::Behavior;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "unpacked-files",
    harm: Harm::Cost,
    summary: "The layer that compresses stands below one that serves files.",
    why: "Files that a layer above `compress` answers with are not compressed, unless a build step has written compressed ones beside them (`.br`, `.gz`, `.zst`).

          Put `compress` above `static`. It leaves files alone that are compressed already.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "static": { "at": "/static", "root": "staticfiles" } },
    "compress"
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""compress""#, Some(r#"{ "at": "/static", "root": "staticfiles" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    "compress",
    { "static": { "at": "/static", "root": "staticfiles" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "A build step writes compressed files, or the files are pictures and archives.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(first) = way.first(|stage| stage.has(Behavior::EncodesResponseBody)) else { continue };
        let Some(files) = way.above(first).iter().find(|stage| stage.has(Behavior::ServesFiles)) else { continue };
        let encodes = &way.stages[first];
        hits.extend(Hit::at(encodes, format!("the files of `{}` are not compressed", files.name())).map(|hit| {
            let hit = hit.label("compresses responses of the layers below").with(files, "serves files");
            hit.hint(format!("move `{}` above `{}`", encodes.name(), files.name())).fix(encodes.moved_above(files))
        }));
    }
    hits
}
