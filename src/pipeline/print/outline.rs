//! The stack as a list of steps, for programs that draw it.

use serde::Serialize;
use ziggurat_middleware::Place;

use super::show::condition;
use crate::pipeline::Pipeline;
use crate::pipeline::model::{Event, Stack};

/// A step of the stack, outermost first. The steps of a route follow it, one deeper.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StackStep {
    /// How many routes lead here.
    pub(crate) depth: usize,
    pub(crate) kind: StepKind,
    /// The name of the layer or app in the file, the condition of a route, the name of an entry of `apps`.
    pub(crate) name: String,
    /// Of a layer or an app.
    pub(crate) place: Option<Place>,
    /// Whether it runs in worker processes.
    pub(crate) in_worker: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepKind {
    Layer,
    App,
    Route,
    /// An entry of `apps`, where it is used.
    Named,
    /// An entry of `apps`: its steps follow.
    Entry,
}

pub(in crate::pipeline) fn outline(pipeline: &Pipeline) -> Vec<StackStep> {
    let mut steps = Vec::new();
    stack(pipeline, &pipeline.file.stack, &mut steps);
    for (_, app) in pipeline.file.apps.iter() {
        steps.push(StackStep { depth: 0, kind: StepKind::Entry, name: app.name.clone(), place: None, in_worker: false });
        stack(pipeline, &app.stack, &mut steps);
    }
    steps
}

fn stack(pipeline: &Pipeline, stack: &Stack, steps: &mut Vec<StackStep>) {
    stack.walk(|event, position| {
        let depth = position.routes.len();
        let step = |kind, name: &str, place: Option<&Place>| {
            let is_python = matches!(event, Event::Layer(_, part) | Event::App(part) if part.kind.is_python());
            let in_worker = is_python || position.python.is_some();
            StackStep { depth, kind, name: name.to_owned(), place: place.cloned(), in_worker }
        };
        match event {
            Event::Layer(_, part) => steps.push(step(StepKind::Layer, part.kind.name, Some(&part.place))),
            Event::App(part) => steps.push(step(StepKind::App, part.kind.name, Some(&part.place))),
            Event::Named(id, _) => steps.push(step(StepKind::Named, &pipeline.file.apps[id].name, None)),
            Event::Routes(table) => {
                let name = table.composite.as_ref().map_or("routes", |composite| composite.name);
                steps.push(step(StepKind::App, name, Some(&table.place)));
            }
            Event::Route(route) => {
                steps.push(StackStep { depth: depth.saturating_sub(1), ..step(StepKind::Route, &condition(route), None) })
            }
            Event::RouteEnd => {}
        }
    });
}
