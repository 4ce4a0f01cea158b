//! The walk of a request down the stacks of a file, and of its response back.

use std::sync::Arc;

use http::HeaderMap;
use ziggurat_middleware::path::PathParams;
use ziggurat_middleware::store::Store;
use ziggurat_middleware::{Body, Context, Deadline, Explain, Explained, Lifecycle, Mount, Request, Response};

use super::explanation::pairs;
use super::now::Running;
use super::{Hop, Role, TriedRoute};
use crate::apps::matching::RequestView;
use crate::apps::routes::{Route, Table};
use crate::pipeline::Pipeline;
use crate::pipeline::check::Order;
use crate::pipeline::check::reserves::Reserves;
use crate::pipeline::model::{self, App, Part, Stack};
use crate::pipeline::print;
use crate::pipeline::tree::Span;
use crate::store::SharedStore;

pub(super) struct Walk<'a> {
    pipeline: &'a Pipeline,
    lifecycle: Lifecycle,
    running: Option<Running<'a>>,
    reserves: Option<Reserves>,
    /// Layers below a Python layer have none.
    store: Option<Arc<dyn Store>>,
    hops: &'a mut Vec<Hop>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(pipeline: &'a Pipeline, running: Option<&'a Lifecycle>, hops: &'a mut Vec<Hop>) -> Self {
        let reserves = Order::of(&pipeline.file).ok().map(|order| Reserves::new(&pipeline.file, &order));
        let store = pipeline.server().store.as_ref().map(|setting| SharedStore::named(setting, pipeline.base()));
        let store = store.map(|store| Arc::new(store) as _);
        Self { pipeline, lifecycle: Lifecycle::default(), running: running.map(Running::new), reserves, store, hops }
    }

    /// The response that the whole stack gives, if it is known.
    pub(super) fn pipeline(mut self, request: Request) -> Option<Response> {
        let pipeline = self.pipeline;
        self.stack(&pipeline.file.stack, request)
    }

    fn stack(&mut self, stack: &'a Stack, request: Request) -> Option<Response> {
        self.layers(&stack.layers, &stack.app, request)
    }

    fn layers(&mut self, layers: &'a [Part], app: &'a App, request: Request) -> Option<Response> {
        let Some((layer, below)) = layers.split_first() else { return self.app(app, request) };
        let (at, mut explained) = self.part(Role::Layer, layer, request);
        if layer.kind.is_python() {
            self.store = None;
        }
        if let Some(response) = explained.answer {
            return Some(response);
        }
        let request = std::mem::replace(&mut explained.request, Request::new(Body::empty()));
        let mut response = self.layers(below, app, request);
        let before = response.as_ref().map(|response| (response.status(), response.headers().clone()));
        let mut notes = explained.respond(response.as_mut());
        if explained.is_vague {
            response = None;
        }
        if let (Some((status, headers)), Some(response)) = (before, &response) {
            notes.extend((status != response.status()).then(|| format!("makes it {}", response.status())));
            notes.extend(changes(&headers, response.headers()));
        }
        self.hops[at].back = notes.iter().map(|note| self.pipeline.secrets.redact(note)).collect();
        response
    }

    fn app(&mut self, app: &'a App, request: Request) -> Option<Response> {
        match app {
            App::Part(app) => {
                let (at, explained) = self.part(Role::App, app, request);
                self.hops[at].answers = true;
                explained.answer
            }
            App::Named(id, span) => {
                let entry = &self.pipeline.file.apps[*id];
                let mut hop = Hop::new(Role::Named, entry.name.clone());
                hop.line = Some(self.line(span));
                self.hops.push(hop);
                self.stack(&entry.stack, request)
            }
            App::Routes(routes) => self.routes(routes, request),
        }
    }

    /// Has a layer or an app explain itself. Returns the number of its hop.
    fn part(&mut self, role: Role, part: &Part, request: Request) -> (usize, Explained) {
        let pipeline = self.pipeline;
        let reserves = self.reserves.as_ref().map_or(&[][..], |reserves| reserves.of_app(part));
        let context = Context::new(&part.place, pipeline.base(), self.lifecycle.clone())
            .with_drain(pipeline.server().drain.0)
            .with_spool(Arc::new(pipeline.server().spool.clone()))
            .with_store(self.store.clone())
            .with_reserves(reserves);
        let live = self.running.as_ref().map(|running| running.of(&part.place, &request)).unwrap_or_default();
        let mut explain = Explain::new(&context, request);
        let failed = part.kind.explain(&part.options, &pipeline.secrets, &mut explain);
        let mut explained = explain.finish();
        if let Err(findings) = failed {
            explained.is_vague = true;
            explained.notes.extend(findings.into_iter().map(|finding| format!("cannot be built: {}", finding.message)));
        }
        let redact = |text: &String| pipeline.secrets.redact(text);
        let mut hop = Hop::new(role, part.place.as_str());
        hop.kind = Some(part.kind.name.to_owned());
        hop.line = Some(self.line(&part.options.span));
        hop.notes = explained.notes.iter().map(redact).collect();
        hop.may_answer = explained.possible.drain(..).map(Into::into).collect();
        for possible in &mut hop.may_answer {
            possible.when = redact(&possible.when);
        }
        hop.live = live;
        hop.answers = explained.answer.is_some();
        hop.status = explained.answer.as_ref().map(|response| response.status().as_u16());
        self.hops.push(hop);
        (self.hops.len() - 1, explained)
    }

    fn routes(&mut self, table: &'a model::Routes, mut request: Request) -> Option<Response> {
        let enabled: Vec<(usize, &model::Route)> = table.routes.iter().enumerate().filter(|(_, route)| route.is_enabled()).collect();
        let decider = Table::new(
            enabled
                .iter()
                .map(|(nth, route)| Route {
                    condition: route.condition.as_ref().map(|condition| condition.value.clone()),
                    mount: route.mount.as_ref().map(|mount| mount.value.clone()),
                    target: (*nth, *route),
                })
                .collect(),
        );
        let mut hop = self.hop_of_routes(table);
        let view = RequestView::new(&request);
        let tried = decider.passed(&view).filter_map(|(index, key)| {
            let (nth, route) = enabled.get(index)?;
            Some(TriedRoute { passed: Some(view.in_place_of(key)), ..self.tried(*nth, route) })
        });
        hop.routes = tried.collect();
        match decider.decide(&view) {
            Ok(decision) => {
                let (nth, route) = *decision.enter(&mut request);
                hop.routes.push(self.tried(nth, route));
                hop.notes.extend(self.entered(route, &mut request));
                self.hops.push(hop);
                self.stack(&route.stack, request)
            }
            Err(refusal) => {
                let problem = refusal.problem();
                hop.notes.push(if problem.shown().is_empty() { "no route takes it".to_owned() } else { problem.shown().to_owned() });
                hop.answers = true;
                hop.status = Some(problem.status().as_u16());
                self.hops.push(hop);
                Some(problem.into_response())
            }
        }
    }

    fn hop_of_routes(&self, table: &model::Routes) -> Hop {
        let mut hop = Hop::new(Role::Routes, table.place.as_str());
        hop.kind = Some(table.composite.as_ref().map_or("routes", |composite| composite.name).to_owned());
        hop
    }

    fn tried(&self, nth: usize, route: &model::Route) -> TriedRoute {
        TriedRoute {
            number: nth + 1,
            name: route.name.clone(),
            condition: self.pipeline.secrets.redact(&print::condition(route)),
            line: self.line(&route.span),
            passed: None,
        }
    }

    /// What the route says about requests that it takes, which the app below is to know.
    fn entered(&self, route: &model::Route, request: &mut Request) -> Vec<String> {
        let mut notes = Vec::new();
        if route.mount.is_some()
            && let Some(mount) = request.extensions().get::<Mount>()
        {
            notes.push(format!("mounted: SCRIPT_NAME is `{}`, PATH_INFO is `{}`", mount.prefix, request.uri().path()));
        }
        if let (Some(condition), Some(params)) = (&route.condition, request.extensions().get::<PathParams>()) {
            let values = condition.value.params().filter_map(|name| Some(format!("`{{{name}}}` is `{}`", params.get(name)?)));
            notes.extend(values);
        }
        if let Some(deadline) = &route.deadline {
            notes.push(format!("the app has {} until it begins its response", deadline.value));
            request.extensions_mut().insert(Deadline(deadline.value.0));
        }
        if let Some(reserve) = &route.reserve {
            notes.push(format!("{} of the app's threads are kept for requests of this route", reserve.value));
            if let Some(class) = self.reserves.as_ref().and_then(|reserves| reserves.class(route)) {
                request.extensions_mut().insert(class);
            }
        }
        notes
    }

    fn line(&self, span: &Span) -> usize {
        self.pipeline.source.position(span.start).0
    }
}

/// The differences between the headers of a response below and above a layer.
fn changes(below: &HeaderMap, above: &HeaderMap) -> Vec<String> {
    let (below, above) = (pairs(below), pairs(above));
    let gone = below.iter().filter(|(name, _)| !above.iter().any(|(kept, _)| kept == name));
    let new = above.iter().filter(|pair| !below.contains(pair));
    let set = new.map(|(name, value)| format!("sets `{name}: {value}`"));
    set.chain(gone.map(|(name, _)| format!("removes `{name}`"))).collect()
}
