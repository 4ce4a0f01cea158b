//! A request meets the same layer twice, and the second one does nothing.

use ziggurat_middleware::Behavior;

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "twice",
    harm: Harm::Lost,
    summary: "A request meets two layers of a kind that works only once.",
    why: "A request has one id, one client and one encoding. The second layer that assigns or determines it finds its work done: its options have no effect.

          Remove one of them, or move one from above the routes into those that need it.",
    wrong: Example {
        text: r#"
{
  "layers": [
    "request_id",
    "compress",
    "access_log",
    "compress"
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""compress""#, Some(r#""compress""#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    "request_id",
    "compress",
    "access_log"
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "Two chains of proxies are believed one after the other, or a part of the file with a layer of its own is used at other places, too.",
    is_fixed: true,
    check,
};

/// What happens to a request once.
const ONCE: [Behavior; 3] = [Behavior::AssignsRequestId, Behavior::TrustsProxies, Behavior::EncodesResponseBody];

fn check(site: &Site<'_>) -> Vec<Hit> {
    let once = |stage: &Stage<'_>| !stage.is_app && ONCE.iter().any(|behavior| stage.has(*behavior));
    let pairs = site.pairs(once, once).filter(|(upper, lower)| upper.name() == lower.name()).filter_map(|(upper, lower)| {
        let hit = Hit::at(lower, format!("requests meet `{}` twice", lower.name()))?.label("the second one").with(upper, "the first one");
        let fix = if upper.has_options_of(lower) { site.removed_below(lower, upper) } else { None };
        Some(hit.hint("remove one of them, or put each into the routes that need it").fix(fix))
    });
    pairs.collect()
}
