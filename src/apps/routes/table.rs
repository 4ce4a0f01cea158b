//! The decision of a table of routes, as a pure function of a request: which route takes it, and why the others before did not.

use http::{StatusCode, Uri};
use ziggurat_middleware::path::PathParams;
use ziggurat_middleware::trace::TakenRoute;
use ziggurat_middleware::{Mount, Problem, Request};

use super::mount::mounted;
use crate::apps::matching::{Index, Key, Match, Prefix, RequestView};

/// From this many routes on, an index costs less than trying half of them one after the other.
const MANY: usize = 12;

/// Routes in their order. `T` is what they lead to.
#[derive(Debug)]
pub(crate) struct Table<T> {
    routes: Vec<Route<T>>,
    /// Which of many routes are worth trying.
    index: Option<Index>,
}

/// A condition and what it leads to.
#[derive(Debug)]
pub(crate) struct Route<T> {
    pub(crate) condition: Option<Match>,
    pub(crate) mount: Option<Prefix>,
    pub(crate) target: T,
}

/// The route that takes a request.
#[derive(Debug)]
pub(crate) struct Decision<'t, T> {
    pub(crate) target: &'t T,
    route: &'t Route<T>,
    /// What the request becomes below a mount: its target, and the prefix that was taken off.
    pub(super) mounted: Option<(Uri, Mount)>,
    /// What the names in its path stand for, beside those of outer routes.
    pub(super) params: Option<PathParams>,
}

/// Why no route takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `/a/../b` is below `/a` for one app and is `/b` for another: no condition could be relied upon.
    DotSegment,
    NoRoute,
    /// What the mount leaves is not a request target.
    Unmountable,
}

impl<T> Table<T> {
    pub(crate) fn new(routes: Vec<Route<T>>) -> Self {
        let conditions = || routes.iter().map(|route| (route.condition.as_ref(), route.mount.as_ref()));
        let index = (routes.len() >= MANY).then(|| Index::new(conditions()));
        Self { routes, index }
    }

    /// Takes the first route that holds.
    pub(crate) fn decide(&self, request: &RequestView<'_>) -> Result<Decision<'_, T>, Refusal> {
        if request.path().has_dot_segment() {
            return Err(Refusal::DotSegment);
        }
        let route = self.first(request).and_then(|nth| self.routes.get(nth)).ok_or(Refusal::NoRoute)?;
        let mounted = match &route.mount {
            Some(prefix) => Some(mounted(request.uri(), request.mount(), prefix).ok_or(Refusal::Unmountable)?),
            None => None,
        };
        Ok(Decision { target: &route.target, route, mounted, params: route.params(request) })
    }

    /// The routes before the one that [`Table::decide`] takes: the index of each, and its first key that does not hold.
    pub(crate) fn passed(&self, request: &RequestView<'_>) -> impl Iterator<Item = (usize, Key<'_>)> {
        let count = match request.path().has_dot_segment() {
            true => 0,
            false => self.first(request).unwrap_or(self.routes.len()),
        };
        self.routes.iter().take(count).enumerate().filter_map(|(nth, route)| Some((nth, route.mismatch(request)?)))
    }

    /// The index of the first route that holds.
    fn first(&self, request: &RequestView<'_>) -> Option<usize> {
        let holds = |route: &Route<T>| route.mismatch(request).is_none();
        match &self.index {
            Some(index) => index.candidates(request).find(|nth| self.routes.get(*nth).is_some_and(holds)),
            None => self.routes.iter().position(holds),
        }
    }
}

impl<'t, T> Decision<'t, T> {
    /// Notes the route by its mount and the pattern that holds for the path.
    pub(super) fn note(&self, request: &RequestView<'_>, taken: &TakenRoute) {
        let path = self.route.condition.as_ref().and_then(|condition| condition.path_of(request)).map(ToString::to_string);
        taken.take(self.route.mount.as_ref().map(Prefix::as_str), path.as_deref().filter(|path| !path.is_empty()));
    }

    /// Makes the request the one that the target gets.
    pub(crate) fn enter(self, request: &mut Request) -> &'t T {
        if let Some((uri, mount)) = self.mounted {
            *request.uri_mut() = uri;
            request.extensions_mut().insert(mount);
        }
        if let Some(params) = self.params {
            request.extensions_mut().insert(params);
        }
        self.target
    }
}

impl Refusal {
    /// The response.
    pub(crate) fn problem(self) -> Problem {
        match self {
            Self::DotSegment => Problem::new(StatusCode::BAD_REQUEST).detail("the path holds a `.` or `..` segment"),
            Self::NoRoute => Problem::new(StatusCode::NOT_FOUND),
            Self::Unmountable => Problem::new(StatusCode::BAD_REQUEST),
        }
    }
}

impl<T> Route<T> {
    /// The first key that does not hold for the request.
    fn mismatch(&self, request: &RequestView<'_>) -> Option<Key<'_>> {
        match &self.mount {
            Some(mount) if !mount.holds(request.path().octets()) => Some(Key::Mount),
            _ => self.condition.as_ref().and_then(|condition| condition.mismatch(request)),
        }
    }

    fn params(&self, request: &RequestView<'_>) -> Option<PathParams> {
        let condition = self.condition.as_ref().filter(|condition| condition.params().next().is_some())?;
        let mut params = request.params().cloned().unwrap_or_default();
        condition.capture(request, &mut params);
        Some(params)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use ziggurat_middleware::{Body, Request, request};

    use super::*;

    fn condition(json: &Value) -> Match {
        serde_json::from_value(json.clone()).unwrap()
    }

    /// One key of a condition, alone, and how a decision calls it.
    fn key() -> impl Strategy<Value = (&'static str, Value)> {
        prop_oneof![
            Just(("host", json!({ "host": "a.example" }))),
            Just(("path", json!({ "path": "/a/*" }))),
            Just(("path", json!({ "path": ["/b", "/a/b"] }))),
            Just(("method", json!({ "method": "POST" }))),
            Just(("header `x-a`", json!({ "header": { "x-a": "1" } }))),
            Just(("header `x-b`", json!({ "header": { "x-b": true } }))),
            Just(("query `q`", json!({ "query": { "q": ["1", "2"] } }))),
        ]
    }

    fn requests() -> impl Strategy<Value = Request> {
        let targets = prop_oneof![Just("/a"), Just("/a/b?q=2"), Just("/b?q=3"), Just("/a%2fb"), Just("/c?q=1")];
        (any::<[bool; 4]>(), targets).prop_map(|([post, host, a, b], target)| {
            let mut request = request(if post { http::Method::POST } else { http::Method::GET }, target, Body::empty());
            let mut set = |given, name: &'static str, value| {
                _ = if given { request.headers_mut().insert(name, http::HeaderValue::from_static(value)) } else { None }
            };
            set(host, "host", "a.example");
            set(a, "x-a", "1");
            set(b, "x-b", "2");
            request
        })
    }

    proptest! {
        /// The route taken is the first one of which every key holds by itself, and each one before is passed for a key that does not.
        #[test]
        fn the_first_route_of_which_all_keys_hold_is_taken(routes in proptest::collection::vec(proptest::collection::vec(key(), 0..3), 1..3 * MANY), request in requests()) {
            let view = RequestView::new(&request);
            let table = Table::new(routes.iter().enumerate().map(|(nth, keys)| {
                let mut whole = json!({});
                for (_, part) in keys {
                    for (key, value) in part.as_object().unwrap() {
                        match (whole.get_mut(key).and_then(Value::as_object_mut), value) {
                            (Some(map), Value::Object(more)) => map.extend(more.clone()),
                            _ => whole[key] = value.clone(),
                        }
                    }
                }
                Route { condition: Some(condition(&whole)), mount: None, target: (nth, whole) }
            }).collect());
            let passed: Vec<_> = table.passed(&view).map(|(nth, key)| (nth, key.to_string())).collect();
            let decision = table.decide(&view);
            let taken = decision.as_ref().map_or(routes.len(), |decision| decision.target.0);
            prop_assert_eq!(passed.len(), taken);
            for (expected, (nth, name)) in passed.into_iter().enumerate() {
                prop_assert_eq!(nth, expected);
                let alone = routes[nth].iter().rev().find(|(key, _)| *key == name).unwrap();
                prop_assert!(condition(&alone.1).mismatch(&view).is_some());
            }
            if let Ok(Decision { target: (_, whole), .. }) = decision {
                prop_assert!(condition(whole).mismatch(&view).is_none());
                for (key, value) in whole.as_object().unwrap() {
                    let alone = condition(&json!({ key: value }));
                    prop_assert!(alone.mismatch(&view).is_none());
                }
            }
        }

        #[test]
        fn a_path_with_dot_segments_is_refused_whatever_the_routes(before in "[a-z/]{0,4}", dots in prop_oneof![Just("."), Just(".."), Just("%2e"), Just(".%2E")], after in "(/[a-z]{0,3}|%5cx)?") {
            let request = request(http::Method::GET, &format!("/{before}/{dots}{after}"), Body::empty());
            let table = Table::new(vec![Route { condition: None, mount: None, target: () }]);
            prop_assert_eq!(table.decide(&RequestView::new(&request)).unwrap_err(), Refusal::DotSegment);
        }
    }

    #[test]
    fn a_mount_is_a_key_and_changes_the_target() {
        let table = Table::new(vec![
            Route { condition: None, mount: Some("/blog".parse().unwrap()), target: "blog" },
            Route { condition: Some(condition(&json!({ "method": "PUT" }))), mount: None, target: "put" },
        ]);
        let decide = |target: &str| {
            let request = request(http::Method::GET, target, Body::empty());
            let view = RequestView::new(&request);
            let passed: Vec<_> = table.passed(&view).map(|(nth, key)| format!("{nth} {key}")).collect();
            let decision = table
                .decide(&view)
                .map(|decision| (*decision.target, decision.mounted.map(|(uri, mount)| (uri.to_string(), mount.prefix.to_string()))));
            (decision, passed)
        };
        assert_eq!(decide("/blog/x?y"), (Ok(("blog", Some(("/x?y".to_owned(), "/blog".to_owned())))), Vec::new()));
        assert_eq!(decide("/x"), (Err(Refusal::NoRoute), vec!["0 mount".to_owned(), "1 method".to_owned()]));
    }
}
