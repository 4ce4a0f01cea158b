//! Places: what the log, metrics and kept state know the layers and apps of a file by, whatever is inserted into it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};
use ziggurat::pipeline::{Pipeline, Registry};
use ziggurat::prelude::*;
use ziggurat_middleware::Lifecycle;

/// Counts under its place, and keeps the count.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Visits {}

impl Middleware for Visits {
    const NAME: &'static str = "visits";

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let built = context.keep(AtomicUsize::default);
        let place = context.place().to_string();
        let count = built.fetch_add(1, Ordering::Relaxed) + 1;
        context.on_status(move || json!(count));
        context.on_scrape(move |metrics| {
            metrics.counter("visits", "Visits.").sample(&[("place", &place)], 1_u64);
        });
        Ok(from_fn((), async |(), request: Request, next: Next| next.run(request).await))
    }
}

/// As [`Visits`], by another name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Other {}

impl Middleware for Other {
    const NAME: &'static str = "other";

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        Visits {}.layer(context)
    }
}

fn registry() -> Registry {
    ziggurat::builtin().layer::<Visits>().layer::<Other>()
}

fn load(file: &Value) -> Pipeline {
    Pipeline::from_text("pipeline.json", &file.to_string(), Path::new(""), &registry(), &|_| None)
        .unwrap_or_else(|report| panic!("{report}"))
}

/// Builds the file as the generation after `before`, and gives the places of the counting layers with the count of generations that each has seen.
fn reloaded(before: &Lifecycle, file: &Value) -> (Lifecycle, Vec<(String, u64)>) {
    let lifecycle = before.successor();
    load(file).build(&lifecycle).unwrap_or_else(|report| panic!("{report}"));
    let mut seen: Vec<_> = lifecycle.status().into_iter().map(|(place, count)| (place.to_string(), count.as_u64().unwrap())).collect();
    seen.sort();
    (lifecycle, seen)
}

fn built(file: &Value) -> (Lifecycle, Vec<(String, u64)>) {
    reloaded(&Lifecycle::default(), file)
}

fn pairs(seen: &[(&str, u64)]) -> Vec<(String, u64)> {
    seen.iter().map(|(place, count)| ((*place).to_owned(), *count)).collect()
}

#[test]
fn a_layer_inserted_above_renames_nothing_and_loses_no_state() {
    let (first, seen) = built(&json!({ "layers": ["visits"], "app": { "respond": 204 } }));
    assert_eq!(seen, pairs(&[("visits", 1)]));
    let (second, seen) = reloaded(&first, &json!({ "layers": ["other", "headers", "visits"], "app": { "respond": 204 } }));
    assert_eq!(seen, pairs(&[("other", 1), ("visits", 2)]));
    let (third, seen) = reloaded(&second, &json!({ "layers": ["visits", "other", "visits"], "app": { "respond": 204 } }));
    assert_eq!(seen, pairs(&[("other", 2), ("visits", 3), ("visits#2", 1)]));
    assert!(third.scrape().to_string().contains("visits{place=\"visits\"} 1\nvisits{place=\"other\"} 1\nvisits{place=\"visits#2\"} 1\n"));
}

#[test]
fn a_named_layer_keeps_its_place_wherever_it_goes() {
    let (first, seen) = built(&json!({ "layers": [{ "visits": {}, "as": "outer" }, "visits"], "app": { "respond": 204 } }));
    assert_eq!(seen, pairs(&[("outer", 1), ("visits", 1)]));
    let moved = json!({ "layers": ["visits"], "app": { "routes": [
        { "match": { "path": "/a/*" }, "layers": ["visits", { "visits": {}, "as": "outer" }], "app": { "respond": 204 } },
        { "app": { "respond": 404 } }
    ] } });
    assert_eq!(reloaded(&first, &moved).1, pairs(&[("a/visits", 1), ("outer", 2), ("visits", 2)]));
}

#[test]
fn parts_of_a_route_are_called_after_its_condition_or_its_name() {
    let route = |key: &str, value: Value| json!({ key: value, "layers": ["visits"], "app": { "respond": 204 } });
    let file = json!({
        "apps": { "main": { "layers": ["visits", "visits"], "app": { "respond": 200 } } },
        "app": { "routes": [
            route("mount", json!("/blog/en")),
            route("match", json!({ "path": ["/api/v1/*", "/x"], "host": "example.com" })),
            { "match": { "path": ["/api/v1/*", "/x"] }, "as": "api", "layers": ["visits"], "app": { "respond": 204 } },
            route("match", json!({ "path": "/" })),
            route("match", json!({ "path": "/*", "host": "*.example.com" })),
            route("match", json!({ "method": "POST" })),
            route("match", json!({ "header": { "x-beta": true } })),
            route("match", json!({ "query": { "v": "1" } })),
            route("match", json!({ "query": { "v": "2" } })),
            { "layers": ["visits"], "app": "main" }
        ] }
    });
    let seen = built(&file).1.into_iter().map(|(place, _)| place).collect::<Vec<_>>();
    let expected = [
        "*.example.com/visits",
        "api/v1/visits",
        "api/visits",
        "blog/en/visits",
        "default/visits",
        "main/visits",
        "main/visits#2",
        "post/visits",
        "root/visits",
        "v#2/visits",
        "v/visits",
        "x-beta/visits",
    ];
    assert_eq!(seen, expected);
    let shown = load(&file).show();
    assert!(shown.contains("as main/visits#2") && shown.contains("as api/visits"), "{shown}");
    assert_eq!(built(&load(&file).normalized()).1.len(), expected.len());
}

#[test]
fn values_from_outside_the_file_are_in_no_place() {
    let file = r#"{ "app": { "routes": [{ "match": { "path": "${SECRET}" }, "layers": ["visits"], "app": { "respond": 204 } }] } }"#;
    let pipeline = Pipeline::from_text("pipeline.json", file, Path::new(""), &registry(), &|_| Some("/hunter2".into())).unwrap();
    let lifecycle = Lifecycle::default();
    pipeline.build(&lifecycle).unwrap();
    assert_eq!(lifecycle.status()[0].0.as_str(), "default/visits");
}

/// A stack with layers, names and routes in it, so many levels deep.
fn stacks(depth: u32) -> BoxedStrategy<Value> {
    let layers = proptest::collection::vec(prop_oneof![Just(json!("visits")), Just(json!("other")), Just(json!({ "visits": {} }))], 0..4);
    let leaf = prop_oneof![
        Just(json!({ "respond": 204 })),
        Just(json!({ "redirect": "/visits" })),
        Just(json!("visits")),
        Just(json!("default")),
        Just(json!("a"))
    ];
    let app = match depth {
        0 => leaf.boxed(),
        _ => prop_oneof![leaf, routes(depth - 1).prop_map(|routes| json!({ "routes": routes }))].boxed(),
    };
    (layers, app).prop_map(|(layers, app)| json!({ "layers": layers, "app": app })).boxed()
}

/// Routes whose conditions differ, though not in what they are called.
fn routes(depth: u32) -> BoxedStrategy<Value> {
    let condition = prop_oneof![
        Just(json!({ "path": "/a/*" })),
        Just(json!({ "path": "/a/visits" })),
        Just(json!({ "path": "/visits" })),
        Just(json!({ "host": "a" })),
        Just(json!({ "path": "/default/x" })),
        Just(json!({ "header": { "visits": true } })),
        Just(json!({ "query": { "a": "1" } })),
    ];
    proptest::collection::vec((condition, stacks(depth)), 1..4)
        .prop_map(|routes| {
            let routes = routes.into_iter().enumerate().map(|(nth, (mut condition, mut stack))| {
                condition["method"] = json!(format!("M{nth}"));
                stack["match"] = condition;
                stack
            });
            routes.collect()
        })
        .boxed()
}

proptest! {
    #[test]
    fn places_are_unique_in_any_file(stack in stacks(3), entries in proptest::collection::vec(stacks(1), 3), name in 0..6_usize) {
        let mut file = stack;
        let names = ["visits", "default", "a"];
        // An entry names only those after it, else it could contain itself.
        let mut entries = entries;
        for entry in &mut entries {
            entry["app"] = json!({ "respond": 200 });
        }
        file["apps"] = names.iter().zip(entries).map(|(name, entry)| ((*name).to_owned(), entry)).collect();
        if let Some(layer) = file["layers"].as_array_mut().and_then(|layers| layers.get_mut(name)) {
            *layer = json!({ "visits": {}, "as": "other" });
        }
        let seen = built(&file).1;
        let places: HashSet<&String> = seen.iter().map(|(place, _)| place).collect();
        prop_assert_eq!(places.len(), seen.len(), "{:?}", seen);
    }
}
