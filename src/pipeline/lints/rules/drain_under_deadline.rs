//! A stop or a reload cuts off requests whose time is not over.

use ziggurat_middleware::{Behavior, Effect, units};

use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};
use crate::pipeline::tree::Span;

pub(super) const LINT: Lint = Lint {
    id: "drain-under-deadline",
    harm: Harm::Lost,
    summary: "The `drain` of `server` is shorter than a deadline.",
    why: "When the server stops, reloads its file or replaces a worker, the requests under way have `drain` to finish. Then they are cut off. A request that may take longer by its deadline fails at each \
          deployment that it meets, although nothing is wrong with it.

          Make `drain` as long as the longest deadline. It costs nothing: the server waits only as long as requests are under way. What stops the server has to wait, too: `TimeoutStopSec` of systemd is 90 seconds \
          unless you set it, and containers are killed after 10 to 30 seconds.",
    wrong: Example {
        text: r#"
{
  "server": { "drain": "10s" },
  "app": { "wsgi": { "app": "mysite.wsgi:application", "deadline": "30s" } }
}"#,
        places: (r#""10s""#, Some(r#"{ "app": "mysite.wsgi:application", "deadline": "30s" }"#)),
        files: &[],
    },
    right: r#"
{
  "server": { "drain": "30s" },
  "app": { "wsgi": { "app": "mysite.wsgi:application", "deadline": "30s" } }
}"#,
    allow: "The platform kills the server after a shorter time anyway, or what takes so long may be cut off.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let server = &site.file.server;
    let node = server.node.nearest(&["drain".into()]);
    // Of a default, nobody has said what it is for.
    if std::ptr::eq(node, &raw const server.node) {
        return Vec::new();
    }
    let drain = server.value.drain;
    let mut longest: Option<(std::time::Duration, Span)> = None;
    for way in &site.ways {
        let Some(app) = way.stages.last().filter(|stage| stage.is_app && stage.is_written) else { continue };
        let own = app.effects.iter().find_map(|effect| match effect {
            Effect::AnswersWithin(time) => Some((*time, app.span())),
            _ => None,
        });
        let of_route =
            way.deadline().filter(|_| app.has(Behavior::RunsPython)).map(|deadline| (deadline.value.0, deadline.node.span.clone()));
        let Some(deadline) = of_route.or(own).filter(|(time, _)| *time > drain.0) else { continue };
        if longest.as_ref().is_none_or(|(time, _)| *time < deadline.0) {
            longest = Some(deadline);
        }
    }
    let hit = longest.map(|(time, span)| {
        let time = units::Duration(time);
        Hit::at_span(node.span.clone(), format!("a stop or a reload cuts requests off after {drain}, and their deadline is {time}"))
            .label("shorter")
            .with_span(span, format!("may take {time}"))
            .hint("make `drain` as long as the longest deadline")
    });
    hit.into_iter().collect()
}
