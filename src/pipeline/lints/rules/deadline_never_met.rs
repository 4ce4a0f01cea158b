//! A time limit has no effect, because a shorter one stands above.

use std::time::Duration;

use ziggurat_middleware::{Behavior, Effect, units};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};

pub(super) const LINT: Lint = Lint {
    id: "deadline-never-met",
    harm: Harm::Lost,
    summary: "A `timeout` stands above a deadline that is not shorter.",
    why: "The layer answers 504 before the deadline of the app is over. The deadline does more: it logs the Python stack of the request, interrupts the thread, and replaces a worker that is stuck. The limit \
          of a proxy tells which server was slow, and may ask another one. With a shorter limit above, none of that happens.

          Remove the layer, or make its time longer than the deadline below.",
    wrong: Example {
        text: r#"
{
  "layers": [{ "timeout": "10s" }],
  "app": { "wsgi": { "app": "mysite.wsgi:application", "deadline": "30s" } }
}"#,
        places: (r#""10s""#, Some(r#"{ "app": "mysite.wsgi:application", "deadline": "30s" }"#)),
        files: &[],
    },
    right: r#"
{
  "layers": [{ "timeout": "40s" }],
  "app": { "wsgi": { "app": "mysite.wsgi:application", "deadline": "30s" } }
}"#,
    allow: "The app below is used at other places, too, where its deadline counts.",
    is_fixed: false,
    check,
};

fn time(stage: &Stage<'_>) -> Option<Duration> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::AnswersWithin(time) => Some(*time),
        _ => None,
    })
}

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(app) = way.stages.last().filter(|stage| stage.is_app) else { continue };
        let of_route = way.deadline().filter(|_| app.has(Behavior::RunsPython));
        let (deadline, span) = match (of_route, time(app)) {
            (Some(deadline), _) => (deadline.value.0, deadline.node.span.clone()),
            (None, Some(time)) => (time, app.span()),
            (None, None) => continue,
        };
        for layer in way.stages.iter().filter(|stage| !stage.is_app) {
            let Some(time) = time(layer).filter(|time| *time <= deadline) else { continue };
            let (time, deadline) = (units::Duration(time), units::Duration(deadline));
            hits.extend(
                Hit::at(layer, format!("`{}` answers after {time}, before the deadline of {deadline} below is over", layer.name())).map(
                    |hit| {
                        let hit = hit.label(format!("{time}")).with_span(span.clone(), format!("{deadline}, and never met"));
                        hit.hint("remove the layer, or make its time longer than the deadline")
                    },
                ),
            );
        }
    }
    hits
}
