//! The figures of a stack that is timed.

use ziggurat_middleware::timing::Timings;
use ziggurat_middleware::{Context, Place};

use super::Site;
use crate::pipeline::model::{Event, Stack};

/// The figures of all layers and apps in these stacks, those in workers included.
pub(in crate::pipeline) fn timings<'a>(stacks: impl IntoIterator<Item = &'a Stack>, site: Site<'_>) -> Timings {
    let mut places: Vec<Place> = Vec::new();
    for stack in stacks {
        stack.walk(|event, _| match event {
            Event::Layer(_, part) | Event::App(part) => places.push(part.place.clone()),
            Event::Routes(table) => places.push(table.place.clone()),
            Event::Named(..) | Event::Route(_) | Event::RouteEnd => {}
        });
    }
    Timings::new(places, |place| Context::new(place, site.base, site.lifecycle.clone()))
}
