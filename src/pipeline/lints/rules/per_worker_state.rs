//! Each worker counts and stores for itself.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};
use crate::pipeline::tree::{Node, Value};

pub(super) const LINT: Lint = Lint {
    id: "per-worker-state",
    harm: Harm::Cost,
    summary: "A layer that counts requests or stores responses stands below a Python layer, so each worker counts and stores for itself.",
    why: "Everything below a Python layer runs in the workers. With eight workers, a limit of 100 requests is one of up to 800, by chance. Workers do not ask `server.store` either. A cache is there eight times, \
          takes eight times the memory, has eight misses, and `ziggurat purge` reaches none of it.

          Put the layer above the Python layer: it then runs in the server process and meets all requests. A cache above a Python layer that says who may see a page stores the responses of that layer: see \
          [`cache`](../layers/cache.md) for what may not be stored.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "wsgi": "mysite.sso:SingleSignOn" },
    { "rate_limit": "100/min" }
  ],
  "app": { "proxy": "http://10.0.0.5:9000" }
}"#,
        places: (r#""100/min""#, Some(r#""mysite.sso:SingleSignOn""#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    { "rate_limit": "100/min" },
    { "wsgi": "mysite.sso:SingleSignOn" }
  ],
  "app": { "proxy": "http://10.0.0.5:9000" }
}"#,
    allow: "The limit protects something that each worker has for itself, such as a connection.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(first) = way.first(|stage| !stage.is_app && stage.part.kind.is_python()) else { continue };
        let (python, below) = (&way.stages[first], &way.stages[first + 1..]);
        let is_alone = below.iter().chain([python]).any(|stage| stage.part.kind.is_python() && has_one_worker(&stage.part.options));
        let counts = |stage: &Stage<'_>| stage.does(&Effect::CountsPerProcess);
        for layer in below.iter().filter(|stage| (counts(stage) || stage.has(Behavior::StoresResponses)) && !is_alone) {
            // Whether the Python layer decides who may see a stored page, only its author knows.
            let (label, fix) =
                if counts(layer) { ("counts for one worker", layer.moved_above(python)) } else { ("stores for one worker", None) };
            hits.extend(Hit::at(layer, format!("each worker has a `{}` of its own", layer.name())).map(|hit| {
                let hit = hit.label(label).with(python, "from here on everything runs in workers");
                hit.hint(format!("move `{}` above the Python layer", layer.name())).fix(fix)
            }));
        }
    }
    hits
}

fn has_one_worker(options: &Node) -> bool {
    let workers = options.nearest(&["workers".into()]);
    matches!(&workers.value, Value::Number(number) if number.as_u64().is_some_and(|number| number <= 1))
}
