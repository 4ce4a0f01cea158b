//! The pipeline as a file in which everything is written out: for programs that look at what a pipeline does.

use serde_json::{Map, Value as Json, json};
use ziggurat_middleware::Place;

use super::{defaults, source};
use crate::pipeline::Pipeline;
use crate::pipeline::model::{Apps, Event, Part, Route, Stack, Typed};
use crate::pipeline::read::{NAME, ROUTES};
use crate::pipeline::tree::Node;
use crate::server::{HttpVersions, Listen, Protocol, SocketAccess};
use crate::tls::TlsOptions;

/// A pipeline that means the same, with defaults filled in, shorthands and composite apps written out, and `${...}` left as they are.
pub(in crate::pipeline) fn normalized(pipeline: &Pipeline) -> Json {
    let entries = pipeline.file.listen.iter();
    let tls = entries.map(|entry| entry.tls.as_ref()).chain(std::iter::repeat(None));
    let listen: Vec<Json> = pipeline.listen.iter().zip(tls).map(|(listen, tls)| address(listen, tls)).collect();
    let mut server = server(pipeline);
    if let Some(options) = server.as_object_mut() {
        options.retain(|_, value| !value.is_null());
    }
    let apps = &pipeline.file.apps;
    let mut file = Map::from_iter([("listen".to_owned(), json!(listen)), ("server".to_owned(), server)]);
    file.extend(stack(&pipeline.file.stack, apps));
    let entries: Map<_, _> = apps.iter().map(|(_, app)| (app.name.clone(), stack(&app.stack, apps).into())).collect();
    if !entries.is_empty() {
        file.insert("apps".to_owned(), entries.into());
    }
    let tests: Vec<Json> = pipeline.file.tests.iter().map(|test| written(&test.node)).collect();
    if !tests.is_empty() {
        file.insert("tests".to_owned(), tests.into());
    }
    file.into()
}

/// The part `server`, with what the file gives as it is written there.
pub(super) fn server(pipeline: &Pipeline) -> Json {
    let server = &pipeline.file.server;
    as_written(serde_json::to_value(&server.value).unwrap_or_default(), &written(&server.node))
}

/// The address alone, or an object if it has options.
fn address(listen: &Listen, tls: Option<&Typed<TlsOptions>>) -> Json {
    let SocketAccess { mode, group } = &listen.access;
    let tls = tls.and_then(|tls| Some(as_written(serde_json::to_value(&tls.value).ok()?, &written(&tls.node))));
    let proxy_protocol = listen.transport.proxy_protocol.as_deref().and_then(|options| serde_json::to_value(options).ok());
    let http = (listen.http != HttpVersions::default()).then(|| serde_json::to_value(&listen.http).ok()).flatten();
    let access = [("mode", mode.map(String::from).map(Json::from)), ("group", group.clone().map(Json::from))];
    let is_gateway = listen.protocol != Protocol::Http;
    let protocol = serde_json::to_value(listen.protocol).ok().filter(|_| is_gateway);
    let trust = serde_json::to_value(listen.trust.peers()).ok().filter(|_| is_gateway);
    let more = [("tls", tls), ("proxy_protocol", proxy_protocol), ("http", http), ("protocol", protocol), ("trust", trust)];
    let more = access.into_iter().chain(more);
    let more: Vec<_> = more.filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    if more.is_empty() {
        return listen.to_string().into();
    }
    let at = [("at".to_owned(), listen.to_string().into())];
    Json::Object(at.into_iter().chain(more).collect())
}

/// Options with their defaults, and what the file gives as it is written there.
fn as_written(full: Json, written: &Json) -> Json {
    match (full, written) {
        (Json::Object(full), Json::Object(given)) => {
            let entry = |(key, value): (String, Json)| match given.get(&key) {
                Some(given) => (key, as_written(value, given)),
                // Without the nulls inside.
                None if value.is_object() => (key, as_written(value, &json!({}))),
                None => (key, value),
            };
            Json::Object(full.into_iter().filter(|(_, value)| !value.is_null()).map(entry).collect())
        }
        (_, written) => written.clone(),
    }
}

/// The keys of a stack, or of a route.
fn stack(stack: &Stack, apps: &Apps) -> Map<String, Json> {
    let mut current = Keys { allow: allowed(stack), ..Keys::default() };
    // The stacks around the current one, outermost first.
    let mut outer = Vec::new();
    stack.walk(|event, _| match event {
        Event::Layer(_, layer) => current.layers.push(part(layer)),
        Event::App(app) => current.app = part(app),
        Event::Named(id, _) => current.app = apps[id].name.as_str().into(),
        Event::Routes(table) => current.app = named(json!({ ROUTES: [] }), table.is_named, &table.place),
        Event::Route(route) => outer.push(std::mem::replace(&mut current, Keys::of(route))),
        Event::RouteEnd => {
            if let Some(around) = outer.pop() {
                let route = std::mem::replace(&mut current, around).finish();
                if let Some(routes) = current.app.get_mut(ROUTES).and_then(Json::as_array_mut) {
                    routes.push(route.into());
                }
            }
        }
    });
    current.finish()
}

/// A stack while it is written.
#[derive(Default)]
struct Keys {
    route: Map<String, Json>,
    layers: Vec<Json>,
    allow: Vec<Json>,
    app: Json,
}

impl Keys {
    fn of(route: &Route) -> Self {
        let keys = [
            ("match", route.condition.as_ref().map(|condition| written(&condition.node))),
            ("mount", route.mount.as_ref().map(|mount| written(&mount.node))),
            (NAME, route.name.as_deref().map(Json::from)),
            ("enabled", route.enabled.as_ref().map(|enabled| written(&enabled.node))),
            ("deadline", route.deadline.as_ref().map(|deadline| written(&deadline.node))),
            ("reserve", route.reserve.as_ref().map(|reserve| written(&reserve.node))),
        ];
        let keys = keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Self { route: keys.collect(), allow: allowed(&route.stack), ..Self::default() }
    }

    fn finish(self) -> Map<String, Json> {
        let mut keys = self.route;
        keys.insert("layers".to_owned(), self.layers.into());
        if !self.allow.is_empty() {
            keys.insert("allow".to_owned(), self.allow.into());
        }
        keys.insert("app".to_owned(), self.app);
        keys
    }
}

fn allowed(stack: &Stack) -> Vec<Json> {
    stack.allow.iter().map(|allow| written(&allow.node)).collect()
}

fn part(part: &Part) -> Json {
    let mut options = match written(&part.options) {
        Json::Object(options) => options,
        _ => Map::new(),
    };
    options.extend(defaults(part));
    named(json!({ part.kind.name: options }), part.is_named, &part.place)
}

fn named(mut written: Json, is_named: bool, place: &Place) -> Json {
    if is_named {
        written[NAME] = place.as_str().into();
    }
    written
}

/// A value that means the same when it is read again.
fn written(node: &Node) -> Json {
    source(node, |text| text.replace('$', "$$"))
}
