//! A request may wait longer than its deadline.

use ziggurat_middleware::{Effect, units};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};

pub(super) const LINT: Lint = Lint {
    id: "wait-over-deadline",
    harm: Harm::Lost,
    summary: "The longest wait in the queue is not shorter than the deadline, which includes it.",
    why: "A deadline counts from the arrival in the queue. When it is over, the request gets 504, as if the app had been too slow, and not the 503 with `Retry-After` of a queue that is too long. A request \
          that starts shortly before leaves the app no time.

          Make `wait` a part of the deadline.",
    wrong: Example {
        text: r#"
{
  "app": { "wsgi": { "app": "mysite.wsgi:application", "deadline": "3s", "queue": { "wait": "5s" } } }
}"#,
        places: (r#"{ "app": "mysite.wsgi:application", "deadline": "3s", "queue": { "wait": "5s" } }"#, None),
        files: &[],
    },
    right: r#"
{
  "app": { "wsgi": { "app": "mysite.wsgi:application", "deadline": "3s", "queue": { "wait": "1s" } } }
}"#,
    allow: "Another route to the app has a longer deadline, and this one seldom waits.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for way in &site.ways {
        let Some(app) = way.stages.last().filter(|stage| stage.is_app) else { continue };
        let wait = app.effects.iter().find_map(|effect| match effect {
            Effect::WaitsUpTo(wait) => Some(*wait),
            _ => None,
        });
        let own = app.effects.iter().find_map(|effect| match effect {
            Effect::AnswersWithin(time) => Some(*time),
            _ => None,
        });
        let of_route = way.deadline();
        let Some((wait, deadline)) =
            wait.zip(of_route.map(|deadline| deadline.value.0).or(own)).filter(|(wait, deadline)| wait >= deadline)
        else {
            continue;
        };
        let (wait, deadline) = (units::Duration(wait), units::Duration(deadline));
        let message = format!("requests wait up to {wait} for `{}`, and have {deadline}", app.name());
        let hit = match of_route {
            Some(of_route) => {
                Some(Hit::at_span(of_route.node.span.clone(), message).label("includes the wait").with(app, format!("waits up to {wait}")))
            }
            None => Hit::at(app, message).map(|hit| hit.label("the deadline includes the wait")),
        };
        hits.extend(hit.map(|hit| hit.hint("make `wait` of `queue` shorter than the deadline")));
    }
    hits
}
