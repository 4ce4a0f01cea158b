//! Files have no security headers, because the layer that adds them stands below.

use ziggurat_middleware::Effect;

use super::headers_not_everywhere::secures;
use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "files-without-headers",
    harm: Harm::Access,
    summary: "The layer with the security headers stands below one that serves files.",
    why: "A file that a layer above answers with never passes the layer that adds the headers. Uploads and pages among the files are the ones that need them most: without `nosniff`, a browser may run a \
          text as a script.

          Put `security_headers` above `static`.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "static": { "at": "/media", "root": "media" } },
    "security_headers"
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""security_headers""#, Some(r#"{ "at": "/media", "root": "media" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    "security_headers",
    { "static": { "at": "/media", "root": "media" } }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "The files are pictures and styles of your own.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let serves = |stage: &&Stage<'_>| stage.effects.iter().any(|effect| matches!(effect, Effect::ServesFolder(_)));
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(first) = way.first(secures) else { continue };
        let (layer, Some(files)) = (&way.stages[first], way.above(first).iter().find(serves)) else { continue };
        hits.extend(Hit::at(layer, format!("the files of `{}` have no security headers", files.name())).map(|hit| {
            let hit = hit.label("adds them to responses of the layers below").with(files, "serves files");
            hit.hint(format!("move `{}` above `{}`", layer.name(), files.name())).fix(layer.moved_above(files))
        }));
    }
    hits
}
