//! An app that reads bodies while they arrive gets whole ones.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "streaming-below-buffer",
    harm: Harm::Lost,
    summary: "An app with `streaming` stands below a layer that takes in whole bodies.",
    why: "`streaming` calls the app while the body still arrives. The layer above passes a request on only when its body is whole, so `streaming` has no effect, and the limit of the layer bounds uploads that \
          the app meant to take.

          Remove the layer from the way to this app, or `streaming`.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "buffer": "10MiB" }],
  "app": { "wsgi": { "app": "mysite.wsgi:application", "streaming": true } }
}"#,
        places: (r#"{ "app": "mysite.wsgi:application", "streaming": true }"#, Some(r#""10MiB""#)),
        files: &[],
    },
    right: r#"
{
  "layers": [{ "body_limit": "10MiB" }],
  "app": { "wsgi": { "app": "mysite.wsgi:application", "streaming": true } }
}"#,
    allow: "The app is used at other places, too, where it streams.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let takes_in = |stage: &Stage<'_>| !stage.is_app && stage.has(Behavior::BuffersRequestBody);
    let pairs = site.pairs(takes_in, |stage| stage.does(&Effect::StreamsBody)).filter_map(|(buffer, app)| {
        let hit = Hit::at(app, format!("`streaming` has no effect: `{}` above takes in whole bodies", buffer.name()))?;
        let hit = hit.label("would read while the body arrives").with(buffer, "waits for its end");
        Some(hit.hint(format!("remove `{}` from the way to this app, or `streaming`", buffer.name())))
    });
    pairs.collect()
}
