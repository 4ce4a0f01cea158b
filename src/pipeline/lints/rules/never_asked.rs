//! No request can reach a route or a layer, because the routes above take other ones.

use std::collections::BTreeMap;

use ziggurat_middleware::Effect;

use crate::apps::matching::{Condition, Match};
use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site, Stage};
use crate::pipeline::model::Route;

pub(super) const LINT: Lint = Lint {
    id: "never-asked",
    harm: Harm::Lost,
    summary: "A route within a route, or a layer that serves files, is for requests that the routes above do not let through.",
    why: "A route within a route sees only the requests that the outer one takes, and with their whole path: below `/api/*`, no path begins with `/users`. The same is true of `static` in a route for \
          other paths, or for other methods than GET.

          Where the inner paths are meant without the prefix, write `mount` in place of `match`: it takes the prefix off.",
    wrong: Example {
        text: r#"
{
  "apps": {
    "api": { "routes": [
      { "match": { "path": "/users/*" }, "app": { "wsgi": "users:app" } },
      { "app": { "wsgi": "api:app" } }
    ] }
  },
  "app": { "routes": [
    { "match": { "path": "/api/*" }, "app": "api" },
    { "app": { "static": "public" } }
  ] }
}"#,
        places: (r#"{ "path": "/users/*" }"#, Some(r#"{ "path": "/api/*" }"#)),
        files: &[],
    },
    right: r#"
{
  "apps": {
    "api": { "routes": [
      { "match": { "path": "/users/*" }, "app": { "wsgi": "users:app" } },
      { "app": { "wsgi": "api:app" } }
    ] }
  },
  "app": { "routes": [
    { "mount": "/api", "app": "api" },
    { "app": { "static": "public" } }
  ] }
}"#,
    allow: "A custom layer between the two changes the requests.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let routes = site.never_asked.iter().map(|(route, by)| {
        Hit::at_span(route.span.clone(), "no request reaches this route")
            .label("matches nothing that comes here")
            .with_span(by.span.clone(), "leaves nothing to it")
            .hint("write a condition that goes with this one, or `mount` in place of a `path` that the routes below do not repeat")
    });
    routes.chain(files(site)).collect()
}

/// The layers that serve files, where no way to them is for those.
fn files(site: &Site<'_>) -> Vec<Hit> {
    let mut layers = BTreeMap::<usize, (&Stage<'_>, Option<&Route>)>::new();
    for way in site.ways.iter().filter(|_| site.is_whole) {
        for (nth, stage) in way.stages.iter().enumerate().filter(|(_, stage)| !stage.is_app) {
            let Some(asked) = asked(stage) else { continue };
            let by = way.excluding(&Condition::new(Some(&asked), None), nth);
            let known = layers.entry(stage.span().start).or_insert((stage, by));
            known.1 = known.1.and(by);
        }
    }
    let never = layers.into_values().filter_map(|(stage, by)| {
        let hit = Hit::at(stage, format!("no request reaches the files of `{}`", stage.name()))?.label("is for other requests");
        Some(
            hit.with_span(by?.span.clone(), "lets none of them through")
                .hint("put the layer above the routes, or into one that takes its paths"),
        )
    });
    never.collect()
}

/// What asks for the files of a layer.
fn asked(stage: &Stage<'_>) -> Option<Match> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::ServesFolder(folder) => Match::for_files(&folder.at),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::pipeline::Pipeline;

    /// What is found in a file with these outer routes.
    fn found(routes: &str) -> Vec<String> {
        let text = format!(
            r#"{{ "apps": {{
                "shop": {{ "layers": [{{ "static": {{ "at": "/static", "root": "files" }} }}], "app": {{ "respond": 204 }} }},
                "table": {{ "routes": [{{ "match": {{ "path": "/a/b" }}, "app": "shop" }}, {{ "app": "shop" }}] }}
            }}, "app": {{ "routes": [{routes}] }} }}"#
        );
        let pipeline = Pipeline::from_text("pipeline.json", &text, Path::new("/"), &crate::builtin(), &|_| None).unwrap();
        pipeline
            .warnings()
            .diagnostics()
            .iter()
            .map(|finding| finding.message.clone())
            .filter(|message| message.starts_with("no req"))
            .collect()
    }

    #[test]
    fn files_are_never_asked_for_where_every_way_to_them_is_for_other_requests() {
        const FILES: &str = "no request reaches the files of `static`";
        assert_eq!(found(r#"{ "match": { "path": "/api/*" }, "app": "shop" }, { "app": "table" }"#), [""; 0]);
        for condition in [r#""path": "/api/*""#, r#""method": "POST""#, r#""not": { "path": "/static/*" }"#] {
            let routes = format!(r#"{{ "match": {{ "path": "/a/*" }}, "app": "table" }}, {{ "match": {{ {condition} }}, "app": "shop" }}"#);
            assert_eq!(found(&routes), [FILES], "{condition}");
        }
    }

    #[test]
    fn a_route_is_never_asked_where_one_before_it_takes_what_the_route_above_lets_through() {
        const ROUTE: &str = "no request reaches this route";
        assert_eq!(found(r#"{ "match": { "path": "/a/b" }, "app": "table" }, { "app": "shop" }"#), [ROUTE]);
        // By another way, a request reaches it.
        assert_eq!(found(r#"{ "match": { "path": "/a/b" }, "app": "table" }, { "app": "table" }"#), [""; 0]);
    }

    #[test]
    fn a_layer_between_that_changes_requests_and_a_mount_leave_it_open() {
        for between in [
            r#""rewrite": { "from": "/a/*", "to": "/static/*" }"#,
            r#""headers": { "request": { "set": { "x-a": "b" } } }"#,
            r#""forwarded": { "trust": "unix" }"#,
        ] {
            let route = format!(
                r#"{{ "match": {{ "path": "/a/b" }}, "layers": [{{ {between} }}], "app": "table" }}, {{ "app": {{ "respond": 404 }} }}"#
            );
            assert_eq!(found(&route), [""; 0], "{between}");
        }
        assert_eq!(found(r#"{ "mount": "/a", "app": "table" }, { "app": { "respond": 404 } }"#), [""; 0]);
    }
}
