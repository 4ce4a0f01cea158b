//! The access log stands below layers that answer.

use ziggurat_middleware::{Behavior, Effect};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "log-misses",
    harm: Harm::Log,
    summary: "The access log stands below a layer that answers some requests itself.",
    why: "A layer sees only the requests that the layers above pass on. What one of them answers, a file or a refusal, has no line in the log: an attack that a limit stops leaves no trace.

          Put `access_log` above everything that answers. It learns the client, the user and the id of a request from the layers below, so nothing is lost.",
    wrong: Example {
        text: r#"
{
  "layers": [
    { "access": [{ "allow": "10.0.0.0/8" }] },
    "access_log"
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#""access_log""#, Some(r#"[{ "allow": "10.0.0.0/8" }]"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [
    "access_log",
    { "access": [{ "allow": "10.0.0.0/8" }] }
  ],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "Requests for files, or refusals, are left out of the log on purpose.",
    is_fixed: true,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(first) = way.first(|stage| stage.has(Behavior::LogsRequests)) else { continue };
        // A layer that trusts proxies refuses only what a trusted proxy has spoiled.
        let answers = |stage: &Stage<'_>| {
            stage.has(Behavior::AnswersEarly) && !stage.has(Behavior::TrustsProxies) && !stage.does(&Effect::PassesEverything)
        };
        let answers = way.above(first).iter().find(|stage| answers(stage));
        let (log, Some(answers)) = (&way.stages[first], answers) else { continue };
        hits.extend(Hit::at(log, format!("what `{}` answers is not in the log", answers.name())).map(|hit| {
            let hit = hit.label("logs what the layers above pass on").with(answers, "answers some requests itself");
            hit.hint(format!("move `{}` above `{}`", log.name(), answers.name())).fix(log.moved_above(answers))
        }));
    }
    hits
}
