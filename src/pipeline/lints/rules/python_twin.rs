//! A Python layer does what a native layer above has done.

use ziggurat_middleware::Effect;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "python-twin",
    harm: Harm::Cost,
    summary: "A Python middleware does what a native layer above does already.",
    why: "The native layer has done the work when Python sees the request or before the client sees the response. The middleware costs time in each worker and finds nothing to do, or does it again: \
          `ProxyFix` below `forwarded` believes a proxy more than there are.

          Remove the Python middleware.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "forwarded": { "trust": "10.0.0.0/8" } },
    { "wsgi": "werkzeug.middleware.proxy_fix:ProxyFix" }
  ],
  "app": { "wsgi": "mysite:app" }
}"#,
        places: (r#""werkzeug.middleware.proxy_fix:ProxyFix""#, Some(r#"{ "trust": "10.0.0.0/8" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [{ "forwarded": { "trust": "10.0.0.0/8" } }],
  "app": { "wsgi": "mysite:app" }
}"#,
    allow: "The middleware has other options, for instance files of another folder.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let pairs = site.pairs(|_| true, |_| true).filter_map(|(native, python)| {
        let name = python.effects.iter().find_map(|effect| match effect {
            Effect::CallsPython(name) => native.part.kind.replaces.contains(&name.trim_end_matches("()")).then_some(name),
            _ => None,
        })?;
        let hit = Hit::at(python, format!("`{name}` does what `{}` above does already", native.name()))?;
        Some(hit.label("does it again, in Python").with(native, "has done it").hint("remove the Python layer"))
    });
    pairs.collect()
}
